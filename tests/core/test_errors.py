"""The tree of errors is the one that the docstring draws."""

from __future__ import annotations

import builtins
import inspect
import re

import pytest

from progresskit import errors


def drawn() -> dict[str, tuple[str, ...]]:
    """Read the tree of the docstring: the name of each class, and of the classes that it is said to be."""
    bases: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        found = re.match(r"^((?:    |│   )*)(├── |└── )?([A-Z]\w+)(?: \((\w+)\)|  +(?:also an? (\w+))?)", line[4:])
        if not line.startswith("    ") or not found:
            continue
        indent, branch, name, root, also = found.groups()
        depth = len(indent) // 4 + bool(branch)
        path[depth:] = [name]
        bases[name] = tuple(filter(None, (root or path[depth - 1], also)))
    return bases


def test_the_drawing_is_the_tree() -> None:
    classes = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type)}
    assert drawn() == {name: tuple(base.__name__ for base in cls.__bases__) for name, cls in classes.items()}


def test_everything_but_cancelled_is_caught_by_the_one_base() -> None:
    classes = {cls for cls in vars(errors).values() if isinstance(cls, type)}
    assert {cls for cls in classes if not issubclass(cls, errors.ProgressKitError)} == {errors.Cancelled}


def test_except_exception_does_not_swallow_the_wish_to_stop() -> None:
    def work_on_a_row() -> None:
        try:
            raise errors.Cancelled("job")
        except Exception:
            pytest.fail("swallowed")

    with pytest.raises(errors.Cancelled):
        work_on_a_row()


@pytest.mark.parametrize(("name", "builtin"), [
    ("InvalidId", "ValueError"),
    ("InvalidValue", "ValueError"),
    ("FlushTimeout", "TimeoutError"),
    ("MissingPackage", "ImportError"),
])  # fmt: skip
def test_who_does_not_know_the_kit_catches_what_he_knows(name: str, builtin: str) -> None:
    with pytest.raises(getattr(builtins, builtin)):
        raise getattr(errors, name)("why")
