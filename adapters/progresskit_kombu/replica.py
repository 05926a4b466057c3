"""
The records of a process that merges the snapshots of other processes into its own.

All replicas fold the same messages, so they agree, unless one of them missed a message, or a broker delivered the same
two messages to two processes in different orders. Then both send their records, and each keeps the result of `merge`:
the same in both processes, and never a version that is older than either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.backends.changes import unpack_each
from progresskit.backends.replica import Outcome, Replica
from progresskit.backends.stores import StoredRecord
from progresskit.progress import FINAL_STATES, Role
from progresskit.record_store import Entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from progresskit.progress import Stored, Write
    from progresskit.record_store import Tombstone

RECORDS = 20_000
"""How many records a process keeps; beyond that, those of jobs that ended longest ago go first."""

CHARACTERS = 64 * 1024 * 1024
"""How many characters of JSON they may have together."""

SLACK_SECONDS = 1.0
"""A snapshot renews a job only if its age differs by more than this, which is more than a message takes."""

Row = tuple[str, str | None, str]
"""A job in a snapshot: its id, its kind, and its record as text, in which all times are relative to now."""


class MergingReplica(Replica):
    """A replica whose times are seconds by the clock of this process, counted from when it received a message."""

    def __init__(self, records: int = RECORDS, characters: float = CHARACTERS) -> None:
        super().__init__(records, characters)

    def run_of(self, write: Write) -> int:
        """Return the run in which the writer owns the record here; 0 if it does not."""
        entry = self.entries.get(write.id)
        return entry.stored.run if entry is not None and entry.stored.token == write.token else 0

    def is_disputed(self, write: Write, run: int) -> bool:
        """Return True for an update whose sender takes another run, or another token, for the owner of the record."""
        return write.role is Role.UPDATE and write.id in self.entries and self.run_of(write) != run

    def known(self) -> set[str]:
        """Return the ids of all records, and of the forgotten jobs that are remembered as such."""
        return {*self.entries, *self.entries.tombstones}

    def forgotten(self, ids: Collection[str]) -> list[Tombstone]:
        """Return the tombstones of those jobs that were forgotten."""
        return [tombstone for id, (tombstone, _) in self.entries.tombstones.items() if id in ids]

    def snapshot(self, ids: Collection[str], now: float) -> list[Row]:
        """Return the records of the jobs: first those that are not final, and of each kind the newest first."""
        entries = [(id, entry) for id in ids if (entry := self.entries.living(id, now)) is not None]
        entries.sort(key=lambda each: (each[1].is_final, -each[1].heard))
        records = ((id, entry, StoredRecord(entry.stored, entry.heard, *entry[3:5])) for id, entry in entries)
        return [(id, entry.kind, _shifted(record, -now).dump()) for id, entry, record in records]

    def adopt(
        self, snapshot: Iterable[Any], forgotten: Collection[Tombstone], now: float
    ) -> tuple[Outcome, set[str], set[str]]:
        """
        Merge the snapshot of another process; return the outcome, all jobs in it, and those known better here.

        `forgotten` are the jobs that the other process has no record of because they were forgotten.
        """
        entries, changed = self.entries, list[str]()
        entries.bury(forgotten, now)
        received = {tombstone.id for tombstone in forgotten}
        better = received.intersection(entries)
        for id, kind, record in unpack_each(snapshot, lambda row: (*row[:2], _shifted(StoredRecord.load(row[2]), now))):
            received.add(id)
            entry = entries.living(id, now)
            if entry is None and self._was_forgotten(id, record.stored):
                better.add(id)
                continue
            merged = _merged(entry, kind, record)
            if merged is not entry and merged.expires > now:
                entries[id] = merged
                changed.append(id)
            if _view(merged.stored) != _view(record.stored):
                better.add(id)
        entries.evict(sum(len(entries[id].stored.body) for id in changed))
        return Outcome({}, entries.cancel_requested(changed, now), (), changed), received, better

    def _was_forgotten(self, id: str, stored: Stored) -> bool:
        if id not in self.entries.tombstones:
            return False
        tombstone, buried = self.entries.tombstones[id]
        return stored.token == tombstone.token and stored[:3] <= tombstone[2:] and stored.opened <= buried


def merge(one: Stored, other: Stored) -> Stored:
    """
    Return the record that both processes keep from now on.

    A later run wins. Two owners of one run, which started at the same moment, are ordered by their tokens, and the
    winner gets the next run. Within a run, a cancel request and the earliest beginning are kept from either side.
    """
    if one.run != other.run:
        return one if one.run > other.run else other
    if one.attempt == other.attempt and one.token and other.token and one.token != other.token:
        return (one if one.token > other.token else other)._replace(run=one.run + 1)
    winner, loser = (one, other) if _rank(one) >= _rank(other) else (other, one)
    back = winner.attempt == loser.attempt and winner.seq < loser.seq
    return winner._replace(
        seq=loser.seq + 1 if back else winner.seq,
        created=min(filter(None, (one.created, other.created)), default=None),
        cancel_requested=one.cancel_requested or other.cancel_requested,
        opened=min(one.opened, other.opened) if one.token == other.token else winner.opened,
        restored=one.restored and other.restored if one.token == other.token else winner.restored,
        born=min(filter(None, (one.born, other.born)), default=0),
    )


def _view(stored: Stored) -> tuple[Any, ...]:
    """Return the fields in which two processes may disagree beyond the owner's next write."""
    return stored.run, stored.token, stored.state in FINAL_STATES, stored.cancel_requested


def _rank(stored: Stored) -> tuple[Any, ...]:
    # A final state ranks above all others; the last fields are there so that no two ranks are equal.
    return (
        stored.attempt,
        stored.state in FINAL_STATES,
        stored.token is not None,
        stored.seq,
        stored.override is None,
        stored.state.value,
        stored.body,
        stored.override or "",
        stored.token or "",
    )


def _merged(entry: Entry | None, kind: str | None, record: StoredRecord) -> Entry:
    """Return the entry itself if the snapshot has nothing new."""
    stored, heard, lease, expires = record
    if entry is None:
        return Entry(stored, kind, heard, lease, expires, heard, {})
    stored, known = merge(entry.stored, stored), entry.stored
    later = heard - entry.heard > SLACK_SECONDS
    is_same = stored == known._replace(opened=stored.opened) and abs(stored.opened - known.opened) <= SLACK_SECONDS
    if is_same and not later:
        return entry
    kind = entry.kind if stored.body == known.body else kind
    heard = max(heard, entry.heard)
    return Entry(stored, kind, heard, lease if later else entry.lease, max(expires, entry.expires), heard, entry.parts)


def _shifted(record: StoredRecord, seconds: float) -> StoredRecord:
    """Return a record for a clock that is ahead by these seconds."""
    stored, heard, lease, expires = record
    return StoredRecord(stored._replace(opened=stored.opened + seconds), heard + seconds, lease, expires + seconds)
