"""Checks the arguments of a kit's calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import validation
from .errors import InvalidId, InvalidValue
from .progress import State, id_text

if TYPE_CHECKING:
    from collections.abc import Callable

Checked = TypeVar("Checked")

PART_NAME_LENGTH = 200


def checked(name: str, convert: Callable[[Any], Checked], value: Any) -> Checked:
    """Return the converted value of an argument; raises InvalidValue, which names the argument, for a bad one."""
    try:
        return convert(value)
    except ValueError as problem:
        raise InvalidValue(f"{name} {problem}") from None


def message(text: Any) -> str:
    """Return the text of an error as it is stored."""
    return validation.text(text, validation.MESSAGE_LENGTH)


def checked_kind(kind: Any) -> str | None:
    """Return the kind of a job as it is stored; None for none."""
    return None if kind is None else checked("kind", validation.text, kind)


def checked_states(given: Any) -> list[State]:
    """Return one state or several, given by value or name, as a list."""
    try:
        return [State(given)] if isinstance(given, str) else [State(one) for one in given]
    except (ValueError, TypeError):
        raise ValueError(f"must be one of {', '.join(State)}, or several of them; not {given!r:.80}") from None


def owner_key(owner: Any) -> str:
    """
    Return the stored key of an owner, who is given as a web framework's user object or as the key of one.

    Raises InvalidValue for a user who is not signed in.
    """
    return checked("owner", validation.user, owner)


def part_name(name: Any) -> str:
    """
    Return the name of a part as text: an int or a UUID, such as a primary key, is converted.

    Raises InvalidId unless it is text of 1 to 200 characters.
    """
    text = id_text(name)
    if text and len(text) <= PART_NAME_LENGTH:
        return validation.text(text, PART_NAME_LENGTH)
    raise InvalidId(f"not the name of a part: {name!r:.80}; 1 to {PART_NAME_LENGTH} characters")


def length_of(items: Any) -> int | None:
    """Return the number of items; None where it is unknown, or too large to be counted."""
    try:
        length = len(items)
    except Exception:
        return None
    return length if length <= validation.LIMIT else None
