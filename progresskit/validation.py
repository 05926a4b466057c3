"""Checks of reported values: each function returns the stored form of a value, or raises ValueError with the reason."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from numbers import Integral, Number
from typing import Any

from .steps import LARGEST_WEIGHT, MOST_STEPS, NAME_LENGTH, WHOLE

LIMIT = 2**53
"""The largest count: beyond it a browser's numbers are no longer exact."""

DESCRIPTION_LENGTH = 500
MESSAGE_LENGTH = 2_000
META_BYTES = 8 * 1024
RESULT_BYTES = 64 * 1024
USER_LENGTH = 128

DEPTH = 100
"""How deep lists and objects may be nested: few enough for every reader's stack."""


def count(value: Any) -> int | float:
    """Return a number as an int where it is a whole kind of number, else as a float; 0 to 2**53."""
    return _number(value, 0)


def change(value: Any) -> int | float:
    """Return by how much a count changes, as `count`, but from -2**53."""
    return _number(value, -LIMIT)


def _number(value: Any, lowest: int) -> int | float:
    kind = type(value)  # not isinstance(), which uses the value's own `__class__`, and a lazy one may raise any error
    if kind is bool or not issubclass(kind, Number):
        raise ValueError(f"must be a number, not {kind.__name__}")
    try:
        number: int | float = int(value) if issubclass(kind, Integral) else float(value)
    except Exception as error:
        raise ValueError(f"must be convertible to a number: {type(error).__name__}") from None
    if not lowest <= number <= LIMIT:  # which NaN is not
        raise ValueError(f"must be a finite number from {'-2**53' if lowest else '0'} to 2**53")
    return number + 0  # turns -0.0 into 0.0


def limit(value: Any) -> int:
    """Return a limit, a whole number; at most 2**53."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"must be a whole number from 0, not {value!r:.80}")
    return min(int(value), LIMIT)


def text(value: Any, length: int = DESCRIPTION_LENGTH) -> str:
    """Return text that every store and transport takes, cut to `length` characters, the last of them an ellipsis."""
    if not issubclass(type(value), str):
        raise ValueError(f"must be a string, not {type(value).__name__}")
    value = str.__str__(value)  # independent of the methods of a subclass
    if len(value) > length:
        value = f"{value[: length - 1]}…"
    return _storable(value)


def meta(value: Any) -> dict[str, Any]:
    """Return a copy of a mapping that JSON can hold, in at most 8 KiB."""
    if not issubclass(type(value), Mapping):
        raise ValueError(f"must be a mapping, not {type(value).__name__}")
    copied: dict[str, Any] = plain(value, META_BYTES)
    return copied


def plain(value: Any, limit: int) -> Any:
    """Return a copy of a value that JSON can hold, in at most `limit` bytes."""
    try:
        given = dict(value) if issubclass(type(value), Mapping) else value
        encoded = json.dumps(given, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(encoded.encode("utf-8", "surrogatepass"))
        copied = json.loads(encoded) if size <= limit else None
    except Exception as error:
        # A value's own methods may raise any error, and nesting too deep is a RecursionError.
        raise ValueError(f"is not JSON: {type(error).__name__}") from None
    if size > limit:
        raise ValueError(f"takes {size} bytes of JSON, over {limit}")
    if is_deep(copied):
        raise ValueError(f"is nested more than {DEPTH} deep")
    return copied if "\\u0000" not in encoded and _is_storable(encoded) else _cleaned(copied)


def step_name(value: Any) -> str:
    """Return the name of a step, 1 to 80 characters."""
    if not issubclass(type(value), str) or not 0 < len(value) <= NAME_LENGTH:
        raise ValueError(f"must have a name of 1 to {NAME_LENGTH} characters, not {value!r:.100}")
    return text(value)


def steps(value: Any) -> dict[str, int]:
    """Return steps with their weights, from a mapping of names to weights, or from names."""
    if issubclass(type(value), str) or not issubclass(type(value), Iterable):
        raise ValueError("must be a mapping of names to weights, or a list of names")
    try:
        pairs = [*value.items()] if issubclass(type(value), Mapping) else [(name, 1) for name in value]
    except Exception as error:
        raise ValueError(f"cannot be read: {type(error).__name__}") from None
    weights = {step_name(name): weight(each) for name, each in pairs}
    if not 0 < len(weights) == len(pairs) <= MOST_STEPS:
        raise ValueError(f"must be 1 to {MOST_STEPS} different steps")
    return weights


def weight(value: Any) -> int:
    """Return the weight of a step or a part."""
    if type(value) is bool or not issubclass(type(value), Integral) or not 1 <= value <= LARGEST_WEIGHT:
        raise ValueError(f"must have whole weights from 1 to {LARGEST_WEIGHT:,}, not {value!r:.100}")
    return int(value)


def size(value: Any) -> int:
    """Return how many parts there are, or their total weight; a sum of so many hundredths of a percent is exact."""
    if type(value) is bool or not issubclass(type(value), Integral) or not 0 <= value <= LIMIT // WHOLE:
        raise ValueError(f"must be a whole number from 0 to {LIMIT // WHOLE:,}, not {value!r:.100}")
    return int(value)


def user(value: Any) -> str:
    """
    Return a stable key that identifies the user, from a framework's user object or from the key itself.

    Anonymous users raise ValueError, and so does a key that cannot be stored unchanged: two users must never share one.
    """
    key = value if _is_user_key(value) else _key_of_user(value)
    name = "" if key is None else str(key)
    if not 0 < len(name) <= USER_LENGTH:
        raise ValueError(f"must be a signed-in user, or a user's key of 1 to {USER_LENGTH} characters")
    if not _is_storable(name):
        raise ValueError("is a user's key that cannot be stored: it holds NUL or a lone surrogate")
    return name


# Django's primary key, Flask-Login's id, Starlette's identity.
_KEYS_OF_USERS = ("pk", "get_id", "identity", "id")


def _is_user_key(value: Any) -> bool:
    uuid = sys.modules.get("uuid")
    is_uuid = uuid is not None and isinstance(value, uuid.UUID)
    return is_uuid or (isinstance(value, str | int) and not isinstance(value, bool))


def _key_of_user(user: Any) -> Any:
    if not getattr(user, "is_authenticated", False):
        return None
    for attribute in _KEYS_OF_USERS:
        try:
            key = getattr(user, attribute, None)
            key = key() if callable(key) else key
        except NotImplementedError:
            continue  # Starlette's own user has this attribute, but not the value
        if key is not None:
            return key
    return None


def is_deep(value: Any, depth: int = DEPTH) -> bool:
    """Return whether lists and objects are nested deeper than that."""
    level = [value]
    for _ in range(depth + 1):
        nested = [inner for inner in level if isinstance(inner, dict | list)]
        level = [inner for outer in nested for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return bool(level)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _cleaned(item) for key, item in value.items()}
    return value


def _is_storable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _storable(value: str) -> str:
    """Replace characters that PostgreSQL, JavaScript or UTF-8 cannot hold: NUL and lone surrogates."""
    if _is_storable(value):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
