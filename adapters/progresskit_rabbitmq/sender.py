"""What this process writes on its messages: who it is, their number, and when they were sent."""

from __future__ import annotations

from itertools import count
from secrets import token_hex
from threading import Lock
from typing import TYPE_CHECKING

from .messages import TICK, Stamp, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from progresskit.progress import Write
    from progresskit.record_store import Tombstone


class Sender:
    """One of each session; `now` returns seconds of the broker's clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.name = token_hex(6)
        self._now = now
        self._lock = Lock()
        self._numbers = count(1)
        self._order = float("-inf")

    def number(self) -> int:
        """Return the number of the next message."""
        with self._lock:
            return next(self._numbers)

    def stamp(self) -> Stamp:
        """Return that of a message that is sent now: later than all that is known here, whatever the clocks say."""
        now = self._now()
        with self._lock:
            self._order = max(now, self._order + TICK)
            return Stamp(now, self._order)

    def saw(self, order: float) -> None:
        """Note that of a message that is known here from now on."""
        with self._lock:
            self._order = max(self._order, order)

    def pack(
        self,
        number: int,
        stamp: Stamp,
        writes: Iterable[Write] = (),
        cancels: Sequence[str] = (),
        forgets: Sequence[Tombstone] = (),
    ) -> bytes:
        """Return a message as bytes."""
        return pack(self.name, number, stamp, writes, cancels, forgets)
