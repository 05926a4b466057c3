"""
What the processes say to each other, as JSON.

A message is `[1, station, number, act, content]`. The number counts what the station has said to all, from 1, so that
whoever listens notices when something is missing; what a station says to itself has a negative one.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from progresskit.decoding import check_stored, check_write, decode_each
from progresskit.progress import Role, State, Stored, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Unpacked = TypeVar("Unpacked")

FORMAT = 1

CHUNK = 256 * 1024
"""Characters of records in one message, about: a broker cuts off a slow reader by the bytes that wait for it."""


class Act(StrEnum):
    """What a message is for."""

    WRITE = "write"  # records, to be folded
    CANCEL = "cancel"  # a request to stop jobs
    FORGET = "forget"  # jobs whose records are to go
    PING = "ping"  # nothing: once it is back, all that was said before it is known
    HELLO = "hello"  # somebody has come who wants to know what there is
    TELL = "tell"  # what somebody knows


class Message(NamedTuple):
    """One message; `content` is what its act needs."""

    station: str
    number: int
    act: Act
    content: Any


class Kept(NamedTuple):
    """
    What a process keeps of a job; the times are seconds: since it was heard of, its lease, until it is gone.

    In `stored` the time at which the run began is counted from now, for each process has a clock of its own.
    """

    id: str
    stored: Stored
    kind: str | None
    age: float
    lease: float
    left: float


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(message: Message) -> str:
    """Return the text of a message."""
    return _encode((FORMAT, *message))


def decode(text: str | bytes) -> Message | None:
    """Return the message of a text; None for one that a later version of the kit may understand."""
    try:
        format, station, number, act, content = json.loads(text)
        understood = format == FORMAT and type(station) is str and type(number) is int
        return Message(station, number, Act(act), content) if understood else None
    except (ValueError, TypeError):
        return None


def pack_write(write: Write, owned: int) -> tuple[Any, ...]:
    """Return a write as JSON can hold it, with the run in which the sender believes its token to own the record."""
    return (write.id, write.role.value, *write[2:6], write.state.value, *write[7:11], owned, *write[11:])


def unpack_write(packed: Sequence[Any]) -> tuple[Write, int]:
    """Return what `pack_write` was given."""
    id, role, token, run, attempt, seq, state, kind, body, lease, ttl, owned, *later = packed
    first = (id, Role(role), token, run, attempt, seq, State(state), kind, body, lease, ttl)
    return check_write(Write(*first, *later[: len(Write._fields) - len(first)])), owned


def pack_kept(kept: Kept) -> tuple[Any, ...]:
    """Return what is kept as JSON can hold it."""
    return (kept.id, *kept.stored[:9], *kept[2:], *kept.stored[9:])


def unpack_kept(packed: Sequence[Any]) -> Kept:
    """Return what `pack_kept` was given."""
    id, *first = packed[:10]
    kind, age, lease, left, *later = packed[10:]
    stored = Stored(*first, *later[: len(Stored._fields) - len(first)])
    stored = check_stored(stored._replace(state=State(stored.state), cancel_requested=bool(stored.cancel_requested)))
    return Kept(str(id), stored, kind, float(age), float(lease), float(left))


def unpack_each(packed: Iterable[Any], unpack: Callable[[Sequence[Any]], Unpacked]) -> list[Unpacked]:
    """Return those records of a message that can be read: one that cannot must not keep the others out."""
    found = (decode_each(str(each[0]) if type(each) is list and each else "?", unpack, each) for each in packed)
    return [each for each in found if each is not None]


def chunks(packed: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Divide what is to be sent into messages."""
    size = begin = 0
    for place, item in enumerate(packed):
        size += sum(len(field) for field in item if type(field) is str)
        if size >= CHUNK:
            yield packed[begin : place + 1]
            size, begin = 0, place + 1
    if begin < len(packed):
        yield packed[begin:]
