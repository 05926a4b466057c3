"""
What goes over the wire: one JSON array a message, many records in each.

    [format, sender, number, time, order, writes, cancels, forgets]

`sender` names a process, `number` counts the messages that it sent, and the rest of the front is their `Stamp`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.decoding import check_write, decode_each
from progresskit.errors import BackendError
from progresskit.progress import ID_LENGTH, Role, State, Write
from progresskit.record_store import Tombstone, tombstones

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMAT = 1
SIZE = 128 << 10
"""Characters after which a message is full; one record may be longer and then is alone in its message."""

TICK = 1e-6
"""By how much the order of a message is greater than that of those before it, at least."""

LATER = len(Write._fields) - Write._fields.index("lease")
"""How many fields stand behind the body: a sender of another version may send fewer, or yet others."""

ROLES = {role.value: role for role in Role}
STATES = {state.value: state for state in State}

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Stamp(NamedTuple):
    """
    When a message was sent: `time` is in seconds of the broker's clock, as far as the sender knows it.

    `order` is what lists go by: mostly the same, but greater than that of all messages that the sender knew.
    """

    time: float
    order: float


class Message(NamedTuple):
    """A message that was received."""

    sender: str
    number: int
    stamp: Stamp
    writes: list[Write]
    cancels: list[str]
    forgets: Sequence[Tombstone] = ()


def pack(
    sender: str,
    number: int,
    stamp: Stamp,
    writes: Iterable[Write] = (),
    cancels: Sequence[str] = (),
    forgets: Sequence[Tombstone] = (),
) -> bytes:
    """Return the message as bytes."""
    rows = [
        (w.id, w.role.value, w.token, w.run, w.attempt, w.seq, w.state, w.kind, w.body, w.lease, w.ttl, *w[11:])
        for w in writes
    ]
    try:
        return _encode([FORMAT, sender, number, *stamp, rows, list(cancels), list(forgets)]).encode()
    except (UnicodeEncodeError, ValueError) as error:
        raise BackendError(f"a record cannot be written as JSON in UTF-8: {error}") from error


def unpack(message: bytes, bodies: bool = True) -> Message | None:
    """
    Read a message; leave out the bodies of the records unless they are wanted. None for what is not of ours.

    A record that cannot be read is left out, so that those beside it are folded all the same.
    """
    try:
        form, sender, number, time, order, rows, cancels, *later = json.loads(message)
        if form != FORMAT:
            return None
        writes = [write for row in rows if (write := decode_each(_id(row), _write, row, bodies)) is not None]
        stamp = Stamp(float(time), float(order))
        ids = [id for id in cancels if type(id) is str]
        forgets = tombstones(later[0]) if later else ()
    except (ValueError, TypeError, RecursionError):
        return None
    return Message(sender, number, stamp, writes, ids, forgets) if type(sender) is str and type(number) is int else None


def _id(row: Any) -> str:
    return str(row[0])[:ID_LENGTH] if type(row) is list and row else "?"


def _write(row: Any, bodies: bool) -> Write:
    id, role, token, run, attempt, seq, state, kind, body, *later = row
    body = body if bodies else "{}"
    write = Write(id, ROLES[role], token, run, attempt, seq, STATES[state], kind, body, *later[:LATER])
    return check_write(write)


def portions(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """Divide writes among messages, in their order."""
    portion, size = list[Write](), 0
    for write in writes:
        if portion and size + len(write.body) > SIZE:
            yield portion
            portion, size = [], 0
        portion.append(write)
        size += len(write.body) + 300
    if portion:
        yield portion
