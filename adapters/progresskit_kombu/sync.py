"""
How a process comes to know what was said before it came, and how the others tell it. Decisions only, no I/O.

Who joins says hello. Each of the others owes it what they know, and says so after a short time that is chance; whoever
comes first tells it to all, and the others keep to themselves what has been told. So many who join at once cost few
answers, however many there are to give them.
"""

from __future__ import annotations

from enum import Enum, auto
from random import uniform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

PING_SECONDS = 0.1
"""How often is tried whether one is heard by oneself: with some transports that takes a moment."""

LINK_SECONDS = 5.0
"""How long that is tried."""

QUIET_SECONDS = 0.2
"""Who hears nothing for so long after saying hello is alone."""

HELLO_SECONDS = 2.0
"""A hello that was not heard by oneself after this time is said again, if anything else was heard meanwhile."""

ANSWER_SECONDS = 0.5
"""The longest that is waited for all answers; what comes later is taken in as well."""

DELAYS = (0.0, 0.03)
"""Within this time after a hello it is answered."""

PAUSE_SECONDS = 0.1
"""The least time between two answers of one process."""

DISPUTE_DELAYS = (0.1, 0.3)
"""Within this time a process says what it knows better; what is still under way has arrived by then."""

IDLE_SECONDS = 10.0
"""When nothing was heard for so long, it is tried whether anything would be."""


class Phase(Enum):
    """How far a process that joins has come."""

    LINKING = auto()  # it does not hear itself yet
    ASKING = auto()  # it has said hello
    CURRENT = auto()


class Say(Enum):
    """What is to be said now."""

    PING = auto()
    HELLO = auto()


class Silence(Exception):
    """What was said does not come back."""


class Joining:
    """The side of the one who joins; times are seconds of any clock that does not go back."""

    def __init__(self, now: float) -> None:
        self.phase = Phase.LINKING
        self.due = now
        self._give_up = now + LINK_SECONDS
        self._probing = False
        self._until = 0.0

    def heard(self, now: float) -> None:
        """Note that something was said, whatever it is."""
        self._probing = False
        if self.phase is Phase.CURRENT:
            self.due = now + IDLE_SECONDS

    def heard_oneself(self, now: float) -> None:
        """Note that a ping came back."""
        if self.phase is Phase.LINKING:
            self.ask(now)

    def ask(self, now: float) -> None:
        """Say hello, because of having just come or having missed something."""
        self.phase, self.due, self._until = Phase.ASKING, now, 0.0

    def hello_came_back(self, now: float) -> None:
        """Begin to wait for answers; all others have heard of it too."""
        if self.phase is Phase.ASKING:
            self._until, self.due = now + ANSWER_SECONDS, now + QUIET_SECONDS

    def told(self, complete: bool, now: float) -> None:
        """Note an answer; after a complete one nothing more needs to be waited for."""
        if self.phase is Phase.ASKING and self._until:
            self.due = now if complete else min(now + QUIET_SECONDS, self._until)

    def next(self, now: float) -> Say | None:
        """Return what is to be said at `due`."""
        if now < self.due:
            return None
        match self.phase:
            case Phase.LINKING:
                if now >= self._give_up:
                    raise Silence
                self.due = now + PING_SECONDS
                return Say.PING
            case Phase.ASKING if not self._until:
                if self._probing:
                    raise Silence
                self._probing, self.due = True, now + HELLO_SECONDS
                return Say.HELLO
            case Phase.ASKING:
                self.phase, self.due = Phase.CURRENT, now + IDLE_SECONDS
                return None
            case _:
                if self._probing:
                    raise Silence
                self._probing, self.due = True, now + LINK_SECONDS
                return Say.PING


class Answering:
    """The side of those who know something."""

    def __init__(self) -> None:
        self.due: float | None = None
        self._owed: set[str] = set()
        self._greeted = False
        self._paused = 0.0

    def greeted(self, known: Collection[str], now: float) -> None:
        """Owe to somebody all that is known."""
        self._owed.update(known)
        self._greeted = True
        self._plan(max(now, self._paused) + uniform(*DELAYS))

    def doubted(self, ids: Collection[str], now: float) -> None:
        """Owe to everybody what is known of some jobs, because others seem to know it otherwise."""
        if ids:
            self._owed.update(ids)
            self._plan(max(now, self._paused) + uniform(*DISPUTE_DELAYS))

    def told(self, ids: Collection[str], complete: bool) -> None:
        """Owe no longer what somebody else has told."""
        self._owed.difference_update(ids)
        self._greeted = self._greeted and not complete

    def take(self, now: float) -> set[str] | None:
        """Return what is to be told now; None for nothing, and an empty set for just that."""
        if self.due is None or now < self.due:
            return None
        self.due, self._paused = None, now + PAUSE_SECONDS
        owed, greeted, self._owed, self._greeted = self._owed, self._greeted, set(), False
        return owed if owed or greeted else None

    def _plan(self, due: float) -> None:
        self.due = due if self.due is None else min(self.due, due)
