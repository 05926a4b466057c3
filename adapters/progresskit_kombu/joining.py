"""
How a process that joins gets the records of the others, as decisions without I/O.

The joining process sends a hello. Each of the others plans a snapshot of its records after a short random delay; the
first one sends it to all, and the others leave out the records that they have seen in it. Many processes that join
at once cost few snapshots, however many processes can send them.

All times are seconds of any clock that does not go back.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from progresskit.backoff import between

from .messages import Act

if TYPE_CHECKING:
    from collections.abc import Collection

PING_SECONDS = 0.1
"""How often a ping is sent until one comes back: some transports take a moment before they deliver."""

LINK_SECONDS = 5.0
"""How long pings are sent, and how long a hello or a later ping may take."""

QUIET_SECONDS = 0.2
"""A process that receives no snapshot for this long after its hello is alone, or has all of them."""

ANSWER_SECONDS = 0.5
"""The longest wait for all snapshots; later ones are merged as well."""

DELAYS = (0.0, 0.03)
"""The range of delays before a snapshot that answers a hello."""

PAUSE_SECONDS = 0.1
"""The least time between two snapshots of one process."""

DISPUTE_DELAYS = (0.1, 0.3)
"""The range of delays before a snapshot that corrects others; messages under way have arrived by then."""

IDLE_SECONDS = 10.0
"""After this time without a message a ping is sent."""


class Phase(Enum):
    """How far a process has come in joining the others."""

    LINKING = auto()  # its own messages do not come back yet
    ASKING = auto()  # it has to send a hello, or has sent one
    WAITING = auto()  # the others have received its hello
    CURRENT = auto()  # it has the records of the others


class LoopbackTimeout(Exception):
    """A message of this process has not come back in time."""


class Joining:
    """The side of the process that joins."""

    def __init__(self, now: float) -> None:
        self.phase = Phase.LINKING
        self.due = now
        self._until = now + LINK_SECONDS
        self._probing = False
        """True while a hello, or a ping of a process that is current, has had no message after it."""

    def received(self, now: float) -> None:
        """Note that any message arrived."""
        self._probing = False
        if self.phase is Phase.CURRENT:
            self.due = now + IDLE_SECONDS

    def ask(self, now: float) -> None:
        """Send a hello next, after joining or after missing a message."""
        self.phase, self.due = Phase.ASKING, now

    def hello_returned(self, now: float) -> None:
        """Begin to wait for snapshots: all others have received the hello too."""
        if self.phase is Phase.ASKING:
            self.phase, self._until, self.due = Phase.WAITING, now + ANSWER_SECONDS, now + QUIET_SECONDS

    def snapshot_received(self, complete: bool, now: float) -> None:
        """Note a snapshot; after a complete one no other is waited for."""
        if self.phase is Phase.WAITING:
            self.due = now if complete else min(now + QUIET_SECONDS, self._until)

    def lose(self, now: float) -> None:
        """Give the connection up, because a message of this process has not come back."""
        self.phase, self._probing, self.due = Phase.ASKING, True, now

    def next(self, now: float) -> Act | None:
        """Return which message has to be sent at `due`, if any; raises LoopbackTimeout."""
        if now < self.due:
            return None
        if self.phase is Phase.WAITING:
            self.phase, self.due = Phase.CURRENT, now + IDLE_SECONDS
            return None
        if self._probing or (self.phase is Phase.LINKING and now >= self._until):
            raise LoopbackTimeout
        self._probing = self.phase is not Phase.LINKING
        self.due = now + (LINK_SECONDS if self._probing else PING_SECONDS)
        return Act.HELLO if self.phase is Phase.ASKING else Act.PING


class Answering:
    """The side of the processes that have records."""

    def __init__(self) -> None:
        self.due: float | None = None
        self._ids: set[str] = set()
        self._greeted = False
        self._paused = 0.0

    def greeted(self, known: Collection[str], now: float) -> None:
        """Plan a snapshot of all records for a process that sent a hello."""
        self._greeted = True
        self._plan(known, now, DELAYS)

    def disputed(self, ids: Collection[str], now: float) -> None:
        """Plan a snapshot of those jobs for all, because other processes seem to have other records of them."""
        if ids:
            self._plan(ids, now, DISPUTE_DELAYS)

    def answered(self, ids: Collection[str], complete: bool) -> None:
        """Leave out of the planned snapshot the jobs that another process has sent."""
        self._ids.difference_update(ids)
        self._greeted = self._greeted and not complete

    def take(self, now: float) -> set[str] | None:
        """Return the ids of the snapshot to send now, which may be empty; None if none has to be sent."""
        if self.due is None or now < self.due:
            return None
        self.due, self._paused = None, now + PAUSE_SECONDS
        ids, greeted, self._ids, self._greeted = self._ids, self._greeted, set(), False
        return ids if ids or greeted else None

    def _plan(self, ids: Collection[str], now: float, delays: tuple[float, float]) -> None:
        self._ids.update(ids)
        due = max(now, self._paused) + between(*delays)
        self.due = due if self.due is None else min(self.due, due)
