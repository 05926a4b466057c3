"""The base of stores that add up the parts of jobs: each part is stored beside the record of its job."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from progresskit.abc import SupportsParts
from progresskit.parts import Part
from progresskit.progress import Effect, fold_report, keeps_parts
from progresskit.states import last_heard

from .stores import StoreBackend, StoredRecord, folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from progresskit.parts import Report
    from progresskit.progress import Write


class JobWithParts(NamedTuple):
    """
    A job as it is to be stored, and those of its parts that have changed, by name.

    `is_written` is True where the job's own record has changed or was renewed, and `is_new` where viewers are to be
    notified of it: they read the sums over the parts by themselves.
    """

    record: StoredRecord
    parts: Mapping[str, Part]
    is_written: bool
    is_new: bool


DecideParts = Callable[[str, StoredRecord | None, Mapping[str, Part], float], JobWithParts | None]
"""Given an id, its record or None, the named parts that are stored, and the store's time; None for no change."""


class PartsBackend(StoreBackend, SupportsParts):
    """A store backend of which the subclass gives `transact_with_parts` too."""

    @abstractmethod
    def transact_with_parts(
        self, writes: Mapping[str, Write], names: Mapping[str, Sequence[str]], decide: DecideParts
    ) -> None:
        """
        Do the same as `transact_writes`, for writes and for jobs of which parts report; `names` has those, by job.

        A job and its parts are read and stored as one. Any change of a job, also by another method, keeps its parts for
        as long as its record; once `are_parts_kept` is false of the two records, all but the changed parts are removed.
        """

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Fold both in, one transaction for each job."""
        writes = {write.id: write for write in batch}
        reported = by_parent(reports)
        runs, run_tokens = {write.id: max(write.run, 1) for write in batch}, dict[str, str]()

        def decide(id: str, record: StoredRecord | None, parts: Mapping[str, Part], now: float) -> JobWithParts | None:
            before = after = _living(record, now)
            written = None
            if id in writes:
                runs[id], written = folded(before, writes[id], now)
                after = written or before
            known = dict(parts) if are_parts_kept(before, after, now) else {}
            changed = dict[str, Part]()
            for report in reported.get(id, ()):
                counted = folded_report(after, known.get(report.name), report, now)
                if counted is not None:
                    after, known[report.name] = counted
                    changed[report.name] = known[report.name]
            run_tokens.pop(id, None)
            if after is None or not (changed or id in writes):
                return None
            if after.stored.tally is not None:
                run_tokens[id] = after.stored.tally.run_token
            if after is before:
                return None
            is_new = written is not None or before is None or before.stored.state is not after.stored.state
            return JobWithParts(after, changed, written is not None, is_new)

        if writes or reported:
            names = {id: [*dict.fromkeys(report.name for report in those)] for id, those in reported.items()}
            with self.noticing_failure():
                self.transact_with_parts(writes, names, decide)
        return runs, run_tokens


def by_parent(reports: Iterable[Report]) -> dict[str, list[Report]]:
    """Return the reports of each job's parts, in their order."""
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report.parent, []).append(report)
    return found


def are_parts_kept(before: StoredRecord | None, after: StoredRecord | None, now: float) -> bool:
    """Return whether the stored parts are still those of the job once a change is stored."""
    before, after = _living(before, now), _living(after, now)
    return before is not None and after is not None and keeps_parts(before.stored, after.stored)


def folded_report(
    record: StoredRecord | None, part: Part | None, report: Report, now: float
) -> tuple[StoredRecord, Part] | None:
    """Return the record of a job and one of its parts after a report; None where that is ignored."""
    stored, after, effect = fold_report(record and record.stored, part, report, now)
    if effect is Effect.IGNORED or after is None:
        return None
    if record is None:
        record = StoredRecord(stored, now, report.lease, now)
    # The lease of a worker of its own starts again only when that worker reports.
    expires_at = max(record.expires_at, last_heard(record.heard_at, now, record.lease) + report.ttl)
    return record._replace(stored=stored, expires_at=expires_at), after


def _living(record: StoredRecord | None, now: float) -> StoredRecord | None:
    """Return the record unless it has expired."""
    return record if record and now < record.expires_at else None
