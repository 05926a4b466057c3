"""
What the broker was told, folded: a process keeps the records itself, for a broker answers no questions.

Every mirror folds the journal in its one order, so all agree on who owns a job and how it went. What comes beside the
journal only moves a record on that its sender owns already; if the start of that sender has not been folded yet, the
newest record waits for it. So it does not matter which of the two roads is faster.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from progresskit.record_store import RecordStore

from .messages import TICK, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from progresskit.progress import Write

    from .messages import Message

HELD = 10_000
"""How many records that came too early are kept; when there are more, the oldest goes."""

SENDERS = 10_000
"""How many senders are remembered, with the number of their last message."""

LOOKED_AT = 100
"""Among how many of the oldest records one is sought that is final, when one has to go."""


class Outcome(NamedTuple):
    """What became of a message of this process's own: the runs stored then, the jobs that are to stop, those gone."""

    runs: dict[str, int]
    cancelled: set[str]
    forgotten: set[str]


class News(NamedTuple):
    """The jobs that a message changed or renewed, and those that it asked to stop."""

    heard: list[str]
    cancelled: set[str]


class Mirror:
    """
    The records as this process knows them; whoever calls holds the lock.

    Without `bodies` all is kept that decides, but not what the records say. The times of its `entries` are seconds of
    the clock that all processes share. Mirrors that share `awaited` each tell what became of messages that any of them
    is asked to wait for: whichever is the first to see them.
    """

    def __init__(self, *, bodies: bool, limit: int, awaited: dict[int, Outcome | None] | None = None) -> None:
        self.bodies = bodies
        self.ready = False
        """True while everything is folded that was in the journal when the connection was made."""
        self.place: tuple[int, str, int] | None = None
        """Where in the journal the last message stood, and whose it was."""
        self.folded: dict[str, int] = {}
        """The number of the last message folded, by sender."""
        self.entries = RecordStore()
        self.order = float("-inf")
        """The order of the last message of the journal."""
        self._limit = limit
        self._held: dict[tuple[str, str | None], tuple[Write, Stamp]] = {}
        self._awaited = {} if awaited is None else awaited

    # What comes in.

    def journal(self, message: Message, offset: int, own: bool) -> News:
        """Fold a message of the journal in."""
        self.place = offset, message.sender, message.number
        self._note(message)
        # The clocks of two senders differ by up to a second; the journal's order is the same for everybody.
        time, self.order = message.stamp.time, max(message.stamp.order, self.order + TICK)
        heard = [write.id for write in message.writes if self._take(write, Stamp(time, self.order))]
        cancelled = self.entries.request_cancel(message.cancels, time)
        forgotten = self.entries.bury(message.forgets, self.order)
        if own and message.number in self._awaited:
            runs = {w.id: self.entries[w.id].stored.run for w in message.writes if w.id in self.entries}
            self._awaited[message.number] = Outcome(runs, cancelled, forgotten)
        self._evict()
        return News([*heard, *cancelled], cancelled)

    def _note(self, message: Message) -> None:
        self.folded.pop(message.sender, None)
        self.folded[message.sender] = message.number
        if len(self.folded) > SENDERS:
            del self.folded[next(iter(self.folded))]

    def beside(self, writes: Iterable[Write], stamp: Stamp) -> list[str]:
        """Fold in what came beside the journal; return what was heard of."""
        return [write.id for write in writes if self._move_on(write, stamp)]

    def _move_on(self, write: Write, stamp: Stamp) -> bool:
        entry = self.entries.living(write.id, stamp.time)
        if entry is not None and entry.stored.token == write.token:
            # When the run began is for the journal to say: not all mirrors take in what comes beside it.
            return self._take(write._replace(age=stamp.order - entry.stored.opened), stamp)
        key = write.id, write.token
        held = self._held.pop(key, None)
        if held is not None and (held[0].attempt, held[0].seq) > (write.attempt, write.seq):
            write, stamp = held
        self._held[key] = write, stamp
        if len(self._held) > HELD:
            del self._held[next(iter(self._held))]
        return False

    def open_held(self) -> None:
        """Take in what waits for a start that the journal has forgotten, or has in a part that was not read."""
        for write, stamp in list(self._held.values()):
            if self.entries.living(write.id, stamp.time) is None:
                self._take(write, stamp)

    def restore(self, write: Write, stamp: Stamp) -> None:
        """Take in what the journal brought once, if it has forgotten the job, or was not read so far back."""
        if self.entries.living(write.id, stamp.time) is None:
            self._take(write, stamp)

    def _take(self, write: Write, stamp: Stamp) -> bool:
        if self.entries.is_buried(write, stamp.order):
            return False
        if not self.bodies:
            write = write._replace(body="{}")
        if not self.entries.take(write, *stamp):
            return False
        if self._held and (held := self._held.pop((write.id, self.entries[write.id].stored.token), None)):
            self._take(*held)
        return True

    def _evict(self) -> None:
        while len(self.entries) > self._limit:
            oldest = [*islice(self.entries, LOOKED_AT)]
            final = (id for id in oldest if self.entries[id].is_final)
            del self.entries[next(final, oldest[0])]

    # Messages of this process's own, which come back by the journal.

    def wait_for(self, numbers: Iterable[int]) -> None:
        """Remember what becomes of these messages."""
        self._awaited.update(dict.fromkeys(numbers))

    def came_back(self, numbers: Iterable[int]) -> bool:
        """Tell whether all of them were folded."""
        return all(self._awaited.get(number) is not None for number in numbers)

    def outcome(self, numbers: Iterable[int]) -> Outcome:
        """Return what became of them, and forget it."""
        whole = Outcome({}, set(), set())
        for number in numbers:
            outcome = self._awaited.pop(number, None)
            if outcome is not None:
                whole.runs.update(outcome.runs)
                whole.cancelled.update(outcome.cancelled)
                whole.forgotten.update(outcome.forgotten)
        return whole
