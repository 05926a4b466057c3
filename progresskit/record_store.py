"""
Records of jobs in memory, with the times of their last writes and of their expiry.

The reference backend uses this store, and so do those of brokers without storage, where every process folds for itself.
"""

from __future__ import annotations

from itertools import islice
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from .decoding import decode, decode_each
from .progress import (
    FINAL_STATES,
    Effect,
    Role,
    State,
    Stored,
    ask_to_cancel,
    fold,
    fold_report,
    is_stalled,
    keeps_parts,
)
from .states import last_heard

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .parts import Part, Report
    from .progress import Progress, Write


TOMBSTONES = 10_000
"""Of how many forgotten jobs it is remembered that they are."""


class Tombstone(NamedTuple):
    """A job that was forgotten, as it was then: the run of this owner, as far as this version."""

    id: str
    token: str | None
    run: int
    attempt: int
    seq: int


def tombstones(packed: Iterable[Any]) -> tuple[Tombstone, ...]:
    """Return the tombstones of a JSON message; invalid ones are left out."""
    return tuple(Tombstone(*each[:5]) for each in packed if type(each) is list and _is_tombstone(*each))


def _is_tombstone(id: Any = None, token: Any = None, *version: Any) -> bool:
    return type(id) is str and type(token) in {str, NoneType} and [type(number) for number in version[:3]] == [int] * 3


class Entry(NamedTuple):
    """
    A job: its record, and the seconds of its last write and of its expiry.

    `order` is the key of lists: of two jobs, the one written later has the greater. `parts` holds the parts of this run
    by name.
    """

    stored: Stored
    kind: str | None
    heard: float
    lease: float
    expires: float
    order: float
    parts: dict[str, Part]

    @property
    def is_final(self) -> bool:
        """True once the run has ended."""
        return self.stored.state in FINAL_STATES

    def is_stalled(self, now: float) -> bool:
        """Return True for a running job whose lease is over."""
        return is_stalled(self.stored, self.heard, self.lease, now)

    def progress(self, id: str, now: float) -> Progress | None:
        """Return the record; None where it cannot be decoded."""
        return decode_each(id, decode, self.stored, self.is_stalled(now), id)


class RecordStore(dict[str, Entry]):
    """
    Entries by id, the most recently written at the end.

    All times are seconds of one clock. Methods with `now` treat expired entries as absent; those of a dict show them
    until they are swept. Not thread-safe: callers need a lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tombstones: dict[str, tuple[Tombstone, float]] = {}
        """The jobs that were forgotten, and the order of that, those that came last at the end."""

    def take(self, write: Write, now: float, order: float) -> bool:
        """Fold a write in; return whether it changed or renewed a record."""
        entry = self.living(write.id, now)
        # The order is the finer time: it increases with each write, even where several processes set the clocks.
        stored, effect = fold(entry.stored if entry else None, write, order)
        if effect is Effect.IGNORED or stored is None:
            return False
        # The kind goes with the body, so that a list by kind agrees with its records.
        kind = entry.kind if entry and entry.stored.body is stored.body else write.kind
        heard = now
        parts: dict[str, Part] = {}
        if entry is None:
            self.tombstones.pop(write.id, None)
        else:
            heard, order = last_heard(entry.heard, now, entry.lease), max(order, entry.order)
            if keeps_parts(entry.stored, stored):
                parts = entry.parts
            del self[write.id]
        self[write.id] = Entry(stored, kind, heard, write.lease, heard + write.ttl, order, parts)
        return True

    def take_reports(self, reports: Iterable[Report], now: float, order: float) -> tuple[set[str], set[str]]:
        """Fold reports of parts in; return the parents that took one, and those of them to be pushed."""
        taken, pushed = set[str](), set[str]()
        for report in reports:
            before = self.living(report.parent, now)
            after = self._take_report(before, report, now, order)
            if after is not None:
                self[report.parent] = after
                taken.add(report.parent)
                if before is None or before.stored.state is not after.stored.state:
                    pushed.add(report.parent)
        return taken, pushed

    def _take_report(self, entry: Entry | None, report: Report, now: float, order: float) -> Entry | None:
        before = entry.parts.get(report.name) if entry else None
        stored, part, effect = fold_report(entry.stored if entry else None, before, report, now)
        if effect is Effect.IGNORED or part is None:
            return None
        if entry is None:
            self.tombstones.pop(report.parent, None)
            entry = Entry(stored, None, now, report.lease, now, order, {})
        entry.parts[report.name] = part
        # The lease of a worker of its own starts again only when that worker reports.
        expires = max(entry.expires, last_heard(entry.heard, now, entry.lease) + report.ttl)
        return entry._replace(stored=stored, expires=expires, order=max(order, entry.order))

    def run_tokens(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the token of the run of each of these jobs that has parts."""
        found = ((id, entry.stored.tally) for id in ids if (entry := self.get(id)) is not None)
        return {id: tally.run_token for id, tally in found if tally is not None}

    def living(self, id: str, now: float) -> Entry | None:
        """Return the entry of a job, unless it has expired."""
        entry = self.get(id)
        if entry is not None and entry.expires <= now:
            del self[id]
            return None
        return entry

    def read(self, ids: Iterable[str], now: float) -> dict[str, Progress]:
        """Return the records of those that are known."""
        found = ((id, self.living(id, now)) for id in ids)
        records = ((id, entry.progress(id, now)) for id, entry in found if entry is not None)
        return {id: record for id, record in records if record is not None}

    def request_cancel(self, ids: Iterable[str], now: float) -> set[str]:
        """Mark those that are known and not done, and return them."""
        accepted = set[str]()
        for id in ids:
            entry = self.living(id, now)
            if entry is not None and not entry.is_final:
                self[id] = entry._replace(stored=ask_to_cancel(entry.stored, now))
                accepted.add(id)
        return accepted

    def cancel_requested(self, ids: Iterable[str], now: float) -> set[str]:
        """Return those that are marked."""
        found = ((id, self.living(id, now)) for id in ids)
        return {id for id, entry in found if entry is not None and entry.stored.cancel_requested}

    def forgettable(self, ids: Iterable[str], now: float) -> list[Tombstone]:
        """Return the tombstones for those jobs that are done or stalled."""
        found = ((id, self.living(id, now)) for id in ids)
        return [
            Tombstone(id, entry.stored.token, entry.stored.run, entry.stored.attempt, entry.stored.seq)
            for id, entry in found
            if entry is not None and (entry.is_final or entry.is_stalled(now))
        ]

    def remove(self, tombstones: Iterable[Tombstone]) -> set[str]:
        """Remove the jobs, but for those that have gone on since; return those removed."""
        gone = set[str]()
        for tombstone in tombstones:
            entry = self.get(tombstone.id)
            if entry is not None and entry.stored[:3] <= tombstone[2:]:
                del self[tombstone.id]
                gone.add(tombstone.id)
        return gone

    def bury(self, tombstones: Iterable[Tombstone], order: float) -> set[str]:
        """
        Remove the jobs as `remove` does, and remember that until they begin again; see `is_buried`.

        For stores of several processes: a process that has missed it, or sends a write again, must not restore a job.
        """
        tombstones = [*tombstones]
        gone = self.remove(tombstones)
        for tombstone in tombstones:
            if tombstone.id not in self:
                self.tombstones.pop(tombstone.id, None)
                self.tombstones[tombstone.id] = tombstone, order
                if len(self.tombstones) > TOMBSTONES:
                    del self.tombstones[next(iter(self.tombstones))]
        return gone

    def is_buried(self, write: Write, order: float) -> bool:
        """
        Return whether a write belongs to a run that was forgotten, and is late or sent again.

        The worker of a stalled job that was forgotten may return: its new writes are not buried.
        """
        if write.id not in self.tombstones or write.id in self:
            return False
        tombstone, buried = self.tombstones[write.id]
        final = write.state in FINAL_STATES
        if final and (write.late or write.role is Role.EXTERNAL):
            return order - write.age <= buried
        is_old = write.token == tombstone.token and (write.attempt, write.seq) <= tombstone[3:]
        return is_old and (final or order < buried)

    def list(
        self, kind: str | None, states: Collection[State] | None, limit: int, now: float, part_of: str | None = None
    ) -> list[Progress]:
        """Return the jobs written last, newest first."""
        wanted = [
            (id, entry)
            for id, entry in reversed(self.items())
            if now < entry.expires
            and (kind is None or entry.kind == kind)
            and (states is None or entry.stored.state in states)
        ]
        wanted.sort(key=lambda each: each[1].order, reverse=True)
        decoded = (entry.progress(id, now) for id, entry in wanted)
        records = (record for record in decoded if record is not None and part_of in (None, record.part_of))
        return [*islice(records, limit)]

    def sweep(self, now: float) -> None:
        """Remove the expired entries."""
        for id in [id for id, entry in self.items() if entry.expires <= now]:
            del self[id]
