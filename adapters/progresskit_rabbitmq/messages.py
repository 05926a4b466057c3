"""
The messages that processes send each other: one JSON array, many records in each.

    [format, sender, number, time, order, writes, cancels, forgets, reports]

`sender` names a process, `number` counts the messages that it sent, and the two times are the `Stamp`.
"""

from __future__ import annotations

import json
from itertools import count
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from progresskit.backends.changes import Changes, encode
from progresskit.backends.replica import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 1

TICK = 1e-6
"""By how much the order of a message is greater than that of those before it, at least."""


class Message(NamedTuple):
    """A message between processes."""

    sender: str
    number: int
    stamp: Stamp
    changes: Changes

    def pack(self) -> bytes:
        """Return the message as bytes."""
        return encode([FORMAT, self.sender, self.number, *self.stamp, *self.changes.pack()])


def unpack(message: bytes) -> Message | None:
    """Read a message; None if it is malformed."""
    try:
        form, sender, number, time, order, *packed = json.loads(message)
        if form != FORMAT or type(sender) is not str or type(number) is not int:
            return None
        return Message(sender, number, Stamp(float(time), float(order)), Changes.unpack(packed))
    except (ValueError, TypeError, RecursionError):
        return None


class Sender:
    """Names, numbers and stamps the messages of one node; `now` returns seconds of the broker's clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.name = token_hex(6)
        self._now = now
        self._lock = Lock()
        self._numbers = count(1)
        self._order = float("-inf")

    def stamp(self) -> Stamp:
        """Return the stamp of a message sent now: later than all known messages, even if their clocks are ahead."""
        now = self._now()
        with self._lock:
            self._order = max(now, self._order + TICK)
            return Stamp(now, self._order)

    def note_order(self, order: float) -> None:
        """Note the order of a received message."""
        with self._lock:
            self._order = max(self._order, order)

    def message(self, changes: Changes, stamp: Stamp | None = None) -> Message:
        """Return the next message of this process."""
        with self._lock:
            number = next(self._numbers)
        return Message(self.name, number, stamp or self.stamp(), changes)
