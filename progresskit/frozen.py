"""
Values of JSON that cannot be changed: of one record, all viewers of a process see the same `meta` and `result`.

They equal the dicts and lists that they are made of, and `json` writes them as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from typing import Self


def frozen(value: Any) -> Any:
    """Return a value that cannot be changed, nor can a dict or a list inside; the value itself where that holds."""
    if isinstance(value, dict):
        return frozen_dict(value)
    if isinstance(value, list):
        return value if type(value) is FrozenList else FrozenList(map(frozen, value))
    return value


def frozen_dict(value: Mapping[str, Any]) -> FrozenDict:
    """Return a mapping that cannot be changed, nor can a dict or a list inside; the value itself where that holds."""
    if type(value) is FrozenDict:
        return value
    return FrozenDict([(name, frozen(each)) for name, each in value.items()]) if value else EMPTY


def thawed(value: Any) -> Any:
    """Return a copy of dicts and lists that may be changed."""
    if isinstance(value, dict):
        return {name: thawed(each) for name, each in value.items()}
    return [*map(thawed, value)] if isinstance(value, list) else value


def _refuse(self: object, *arguments: object, **named: object) -> NoReturn:
    raise TypeError("a record cannot be changed: copy the value, as in dict(progress.meta)")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker sees no setters in the types of a record
        __delitem__ = __ior__ = __setitem__ = clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen_dict, (dict(self),)


class FrozenList(list[Any]):
    """A list that cannot be changed."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __delitem__ = __iadd__ = __imul__ = __setitem__ = _refuse
        append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen, (list(self),)


EMPTY = FrozenDict()
