"""
The messages that processes send each other, as JSON.

A message is `[1, sender, number, act, content]`. The number counts the messages that the sender has sent to all, from
1, so that receivers notice when one is missing; a ping, which a process sends to itself, has a negative number.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.backends.changes import encode as encode_json
from progresskit.decoding import check_stored
from progresskit.progress import State, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = 1

PORTION = 256 * 1024
"""Characters of records in one message, about: a broker cuts off a slow receiver by the bytes that wait for it."""


class Act(StrEnum):
    """The purpose of a message."""

    CHANGES = "changes"  # records to fold, requests to cancel, jobs to forget
    PING = "ping"  # without content: all messages sent before it have been received once it is back
    HELLO = "hello"  # a process joins, and requests snapshots
    SNAPSHOT = "snapshot"  # the records that a process knows


class Message(NamedTuple):
    """One message; its act determines the form of the content."""

    sender: str
    number: int
    act: Act
    content: Any


class SharedRecord(NamedTuple):
    """
    A job in a snapshot; the times are seconds: since the last message about it, its lease, until it expires.

    In `stored` the time at which the run began is relative to now, for each process has a clock of its own.
    """

    id: str
    stored: Stored
    kind: str | None
    age: float
    lease: float
    left: float


def encode(message: Message) -> bytes:
    """Return a message as JSON; raises BackendError for records that JSON cannot hold."""
    return encode_json((FORMAT, *message))


def decode(text: str | bytes) -> Message | None:
    """Return the message of a text; None for one that a later version of the kit may understand."""
    try:
        format, sender, number, act, content = json.loads(text)
        understood = format == FORMAT and type(sender) is str and type(number) is int
        return Message(sender, number, Act(act), content) if understood else None
    except (ValueError, TypeError, RecursionError):
        return None


def pack_record(record: SharedRecord) -> tuple[Any, ...]:
    """Return a job of a snapshot as JSON can hold it."""
    return (record.id, *record.stored[:9], *record[2:], *record.stored[9:])


def unpack_record(packed: Sequence[Any]) -> SharedRecord:
    """Read a row that `pack_record` made."""
    id, *first = packed[:10]
    kind, age, lease, left, *later = packed[10:]
    stored = Stored(*first, *later[: len(Stored._fields) - len(first)])
    stored = check_stored(stored._replace(state=State(stored.state), cancel_requested=bool(stored.cancel_requested)))
    return SharedRecord(str(id), stored, kind, float(age), float(lease), float(left))
