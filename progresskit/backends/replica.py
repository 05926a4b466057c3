"""The records of all jobs as one process knows them, folded from the messages of a broker that stores none."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from progresskit.record_store import RecordStore

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping

    from progresskit.progress import Write
    from progresskit.record_store import Entry

    from .changes import Changes

ROOM = 0.9
"""The share of the bounds that is left when records had to go, so that this does not happen at each message."""

SWEEP_SECONDS = 60.0
"""How often expired records are removed."""


class Stamp(NamedTuple):
    """
    The time of a message in seconds, by the clock that all entries of a replica go by.

    `order` is what lists are sorted by: mostly the same as `time`, but greater than the order of all earlier messages.
    """

    time: float
    order: float


class Outcome(NamedTuple):
    """
    What a message changed in a replica.

    `runs` are the stored runs of the jobs written, `updated` the ids of all records that changed or were renewed, and
    `run_tokens` those of the jobs with parts that were written, or took a report.
    """

    runs: dict[str, int]
    cancelled: Collection[str] = ()
    forgotten: Collection[str] = ()
    updated: Collection[str] = ()
    run_tokens: Mapping[str, str] = {}


class Outcomes:
    """The outcomes of this process's own messages, from when one is sent until its outcome is taken."""

    def __init__(self) -> None:
        self._pending: dict[Hashable, Outcome | None] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def expect(self, keys: Iterable[Hashable]) -> None:
        """Keep the outcomes of these messages once they come back."""
        self._pending.update(dict.fromkeys(keys))

    def resolve(self, key: Hashable, outcome: Outcome) -> None:
        """Note the outcome of a message that came back, if it is expected."""
        if key in self._pending:
            self._pending[key] = outcome

    def have(self, keys: Iterable[Hashable]) -> bool:
        """Return True once all of the messages have come back."""
        return all(self._pending.get(key) is not None for key in keys)

    def take(self, keys: Iterable[Hashable]) -> Outcome:
        """Remove the outcomes of the messages, and return those that are there as one."""
        found = [outcome for outcome in (self._pending.pop(key, None) for key in keys) if outcome is not None]
        return Outcome(
            {id: run for outcome in found for id, run in outcome.runs.items()},
            {id for outcome in found for id in outcome.cancelled},
            {id for outcome in found for id in outcome.forgotten},
            (),
            {id: token for outcome in found for id, token in outcome.run_tokens.items()},
        )


class BoundedRecordStore(RecordStore):
    """A record store of bounded number and size; `evict` removes first the jobs that ended longest ago."""

    def __init__(self, records: int, characters: float = inf) -> None:
        super().__init__()
        self._records, self._characters = records, characters
        self._size = 0
        """At most too large: it contains replaced records until all are counted again."""

    def evict(self, added: int) -> None:
        """Remove records once the bounds are passed, until there is ROOM; that many characters were added."""
        self._size += added
        if len(self) <= self._records and self._size <= self._characters:
            return
        self._size = sum(map(_length, self.values()))
        if len(self) > self._records or self._size > self._characters:
            # Sorting all for a tenth of them costs little for each.
            for id, _ in sorted(self.items(), key=lambda each: (not each[1].is_final, each[1].heard)):
                if len(self) <= ROOM * self._records and self._size <= ROOM * self._characters:
                    break
                self._size -= _length(self.pop(id))


def _length(entry: Entry) -> int:
    return len(entry.stored.body) + len(entry.stored.override or "")


class Replica:
    """The records as this process knows them; the caller holds the lock that guards them."""

    def __init__(self, records: int, characters: float = inf) -> None:
        self.entries = BoundedRecordStore(records, characters)
        self._sweep_at = monotonic() + SWEEP_SECONDS

    def fold(self, changes: Changes, stamp: Stamp) -> Outcome:
        """Apply the changes of a message."""
        entries, (time, order) = self.entries, stamp
        self._sweep(time)
        updated = [write.id for write in changes.writes if self.take(write, stamp)]
        cancelled = entries.request_cancel(changes.cancels, time)
        forgotten = entries.bury(changes.forgets, order)
        counted, begun = entries.take_reports(changes.reports, time, order)
        runs = {write.id: entries[write.id].stored.run for write in changes.writes if write.id in entries}
        run_tokens = entries.run_tokens(counted.union(runs))
        entries.evict(sum(len(write.body) for write in changes.writes))
        return Outcome(runs, cancelled, forgotten, [*updated, *cancelled, *begun], run_tokens)

    def take(self, write: Write, stamp: Stamp) -> bool:
        """Fold one record; return whether that changed or renewed anything. A forgotten run stays forgotten."""
        return not self.entries.is_buried(write, stamp.order) and self.entries.take(write, *stamp)

    def _sweep(self, time: float) -> None:
        now = monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self.entries.sweep(time)
