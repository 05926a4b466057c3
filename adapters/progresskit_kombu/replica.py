"""The records of a process that merges the snapshots of other processes into its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.backends.replica import Outcome, Replica
from progresskit.progress import Role
from progresskit.record_store import Entry

from .merging import differ, merge
from .messages import SharedRecord

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

    def snapshot(self, ids: Collection[str], now: float) -> list[SharedRecord]:
        """Return the records of the jobs: first those that are not final, and of each kind the newest first."""
        entries = [(id, entry) for id in ids if (entry := self.entries.living(id, now)) is not None]
        entries.sort(key=lambda each: (each[1].is_final, -each[1].heard))
        return [
            SharedRecord(
                id, _shifted(entry.stored, -now), entry.kind, now - entry.heard, entry.lease, entry.expires - now
            )
            for id, entry in entries
        ]

    def adopt(
        self, snapshot: Iterable[SharedRecord], forgotten: Collection[Tombstone], now: float
    ) -> tuple[Outcome, set[str]]:
        """
        Merge the snapshot of another process; return the outcome, and the jobs of which more is known here than there.

        `forgotten` are the jobs that the other process has no record of because they were forgotten.
        """
        entries, changed = self.entries, list[str]()
        entries.bury(forgotten, now)
        better = {tombstone.id for tombstone in forgotten if tombstone.id in entries}
        for record in (record._replace(stored=_shifted(record.stored, now)) for record in snapshot):
            entry = entries.living(record.id, now)
            if entry is None and self._was_forgotten(record):
                better.add(record.id)
                continue
            merged = _merged(entry, record, now)
            if merged is not entry and merged.expires > now:
                entries[record.id] = merged
                changed.append(record.id)
            if differ(merged.stored, record.stored):
                better.add(record.id)
        entries.evict(sum(len(entries[id].stored.body) for id in changed))
        return Outcome({}, entries.cancel_requested(changed, now), (), changed), better

    def _was_forgotten(self, record: SharedRecord) -> bool:
        if record.id not in self.entries.tombstones:
            return False
        tombstone, buried = self.entries.tombstones[record.id]
        is_old = record.stored.token == tombstone.token and record.stored[:3] <= tombstone[2:]
        return is_old and record.stored.opened <= buried


def _merged(entry: Entry | None, record: SharedRecord, now: float) -> Entry:
    """Return the entry itself if the snapshot has nothing new."""
    heard, expires = now - record.age, now + record.left
    if entry is None:
        return Entry(record.stored, record.kind, heard, record.lease, expires, heard, {})
    stored = merge(entry.stored, record.stored)
    later = heard - entry.heard > SLACK_SECONDS
    if _is_same(stored, entry.stored) and not later:
        return entry
    kind = entry.kind if stored.body == entry.stored.body else record.kind
    lease = record.lease if later else entry.lease
    heard = max(heard, entry.heard)
    return Entry(stored, kind, heard, lease, max(expires, entry.expires), heard, entry.parts)


def _shifted(stored: Stored, seconds: float) -> Stored:
    return stored._replace(opened=stored.opened + seconds)


def _is_same(one: Stored, other: Stored) -> bool:
    """Compare two records, apart from differences between clocks."""
    return one == other._replace(opened=one.opened) and abs(one.opened - other.opened) <= SLACK_SECONDS
