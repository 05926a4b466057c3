"""
Runs of programs elsewhere, which report through this process, such as by HTTP.

Each report becomes one record, made of the stored one and of the values that the report gives. No object lives between
two reports, so each may come through another process: a `RemoteRun`, which the program sends along, identifies the run.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from .abc import SupportsParts
from .errors import BackendUnavailable
from .estimate import SETTLING, UNKNOWN, Estimate, continued
from .progress import Details, Progress, Role, State, Version, moment
from .snapshots import write_of_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from .abc import Backend
    from .progress import Failure, Number
    from .publisher import Publisher

ATTEMPTS = 20
"""How often a report is sent while the stored record does not show it."""


class RemoteRun(NamedTuple):
    """
    One start of a job by a program elsewhere.

    `token` is that of its writes, and gives the right to write; `number` is the run as far as it is known, else 0.
    `started_at` identifies the run among the records of the job, `first` is the count of its first report.
    """

    id: str
    token: str
    number: int
    started_at: datetime
    first: Number


class RemoteReport(NamedTuple):
    """
    A report; its number `seq` increases within the run.

    `values` has those of `current`, `total`, `unit`, `description` and `meta` that it gives; the others stay as they
    are. All values are valid.
    """

    seq: int
    state: State = State.RUNNING
    values: Mapping[str, Any] = {}
    result: Any = None
    error: Failure | None = None
    next_retry_at: datetime | None = None

    def is_in(self, record: Progress) -> bool:
        """Return whether a record of this `seq` says the same: the report is repeated, as its answer was lost."""
        ends = (record.state, record.result, record.error, record.next_retry_at)
        if ends != (self.state, self.result, self.error, self.next_retry_at):
            return False
        return all(getattr(record, name) == value for name, value in self.values.items())


class Accepted(NamedTuple):
    """The newest record after a report, and the run as it is known by now."""

    record: Progress
    run: RemoteRun


class Conflict(Enum):
    """Why a report is stale; the stored record is unchanged."""

    REPLACED = "Another run of this job has begun since."
    ENDED = "This run has ended."
    PASSED = "Another report with this Progresskit-Seq, or a higher one, is stored."


class RemoteRuns:
    """Stores the reports of programs elsewhere. Its methods raise BackendError where a report cannot be stored."""

    def __init__(self, backend: Backend, publisher: Publisher) -> None:
        self._backend, self._publisher = backend, publisher

    def report(self, id: str, report: RemoteReport) -> Accepted | Conflict:
        """
        Store a report of programs that keep no state between two reports, such as the lines of a script.

        The report belongs to the run that such a report has begun before, with the next `seq`, or else begins a run. It
        is sent again where reports of other processes came at the same moment. An end is refused once the job has
        ended.
        """
        for _ in range(ATTEMPTS):
            answer = self._report_once(id, report)
            if answer is Conflict.ENDED or (isinstance(answer, Accepted) and report.is_in(answer.record)):
                return answer
        return Conflict.PASSED

    def _report_once(self, id: str, report: RemoteReport) -> Accepted | Conflict:
        before = self._read(id)
        if before is not None and before.done and report.state.final:
            return Conflict.ENDED
        if before is None or before.done or before.started_at is None or before.state is State.RETRYING:
            return self.start(id, report._replace(seq=1), _derived_token)
        run = RemoteRun(id, _derived_token(id, before.started_at), before.version.run, before.started_at, 0)
        return self.go_on(run, report._replace(seq=before.version.seq + 1))

    def start(
        self, id: str, report: RemoteReport, make_token: Callable[[str, datetime], str] = lambda *_: token_hex(8)
    ) -> Accepted | Conflict:
        """
        Store the first report of a new run, or of the next attempt of one that waits for it.

        `make_token` makes the token of the run from the id of the job and the start of the run.
        """
        before = self._read(id)
        now = moment(self._publisher.wall())
        if before is not None and before.started_at == now:
            now += timedelta(milliseconds=1)
        run = RemoteRun(id, make_token(id, now), 0, now, report.values.get("current", 0))
        awaiting = before if before is not None and _is_awaiting(before) else None
        attempt = 1 if awaiting is None else awaiting.attempt + (awaiting.state is State.RETRYING)
        about = Details() if awaiting is None else _about(awaiting)
        owner = None if awaiting is None else awaiting.owner
        record = self._record(run, attempt, report, about._replace(**report.values), owner)
        return self._store(run, record, Role.START)

    def go_on(self, run: RemoteRun, report: RemoteReport) -> Accepted | Conflict:
        """Store a later report of a run."""
        before = self._read(run.id)
        if before is None or before.started_at != run.started_at:
            return self._restore(run, report)
        if report.seq <= before.version.seq and not (report.seq == before.version.seq and report.is_in(before)):
            return Conflict.ENDED if before.done else Conflict.PASSED
        if report.seq > before.version.seq and before.done:
            return Conflict.ENDED
        attempt = before.attempt
        if report.seq > before.version.seq and before.state is State.RETRYING and report.state not in _STILL_WAITING:
            attempt += 1
        kept = _about(before)
        if before.tally is None or (not before.tally.gives_percent and before.total is not None):
            kept = kept._replace(**_values(before))  # they do not follow from parts
        record = self._record(run, attempt, report, kept._replace(**report.values), before.owner, before)
        return self._store(run, record, Role.UPDATE)

    def _restore(self, run: RemoteRun, report: RemoteReport) -> Accepted | Conflict:
        """Store a report of a run that is not stored; where another run is stored, the fold decides."""
        record = self._record(run, 1, report, Details(**report.values), None)
        age = max(self._publisher.wall() - run.started_at.timestamp(), 0)
        return self._store(run, record, Role.UPDATE, age=age, late=True)

    def _record(
        self,
        run: RemoteRun,
        attempt: int,
        report: RemoteReport,
        details: Details,
        owner: str | None,
        before: Progress | None = None,
    ) -> Progress:
        now, state = moment(self._publisher.wall()), report.state
        estimate = _estimate(run, before, details, now)
        details = details._replace(
            rate=estimate.rate,
            eta=estimate.eta if state is State.RUNNING else None,
            result=report.result,
            error=report.error,
            created_at=run.started_at,
            started_at=run.started_at,
            updated_at=now,
            finished_at=now if state.final else None,
            next_retry_at=report.next_retry_at,
        )
        version = Version(run.number or 1, attempt, report.seq)
        return Progress(run.id, state, version, **details._asdict(), lease=self._publisher.lease, owner=owner)

    def _store(
        self, run: RemoteRun, record: Progress, role: Role, *, age: float = 0, late: bool = False
    ) -> Accepted | Conflict:
        publisher = self._publisher
        write = write_of_remote(publisher, record, role, run.token, run.number)._replace(late=late)
        if not isinstance(self._backend, SupportsParts):
            write = write._replace(report=None)
        is_sent = publisher.store(write, publisher.clock() - age)
        after = self._read(run.id)
        if after is not None and _has_taken(after, run, record):
            return Accepted(after, run._replace(number=after.version.run))
        if after is None or publisher.down or not is_sent:
            raise BackendUnavailable(f"the report of job {run.id} is not stored yet")
        if after.started_at != run.started_at:
            return Conflict.REPLACED
        return Conflict.ENDED if after.done else Conflict.PASSED

    def _read(self, id: str) -> Progress | None:
        return self._backend.read((id,)).get(id)


def _derived_token(id: str, started_at: datetime) -> str:
    """Return the token of a run that no worker of this host began: any process can derive it from the record."""
    return sha256(f"{id} {started_at.isoformat()}".encode()).hexdigest()[:16]


_STILL_WAITING = (State.RETRYING, State.CANCELLED)
"""The states that a report may give a job that waits for its next attempt, without beginning the attempt."""


def _is_awaiting(record: Progress) -> bool:
    """Return whether a start continues the run of the record, so that the job keeps the details its sender gave."""
    return record.state in (State.PENDING, State.RETRYING) or (record.tally is not None and not record.done)


def _about(record: Progress) -> Details:
    """Return the details of a job that no report sets."""
    return Details(kind=record.kind, parent=record.parent, part_of=record.part_of)


def _values(record: Progress) -> dict[str, Any]:
    """Return the details of a job that reports set."""
    return {name: getattr(record, name) for name in ("current", "total", "unit", "description", "meta")}


def _has_taken(after: Progress, run: RemoteRun, record: Progress) -> bool:
    """Return whether the stored record is this record of the run, or a later one."""
    if after.started_at != run.started_at or after.version[1:] < record.version[1:]:
        return False
    return after.state is record.state or not record.done


def _estimate(run: RemoteRun, before: Progress | None, details: Details, now: datetime) -> Estimate:
    """Return the rate and the time left after the record before."""
    current, total = details.current, details.total
    if before is None or before.updated_at is None or current < before.current:
        return UNKNOWN
    left = None if total is None else max(total - current, 0)
    if before.rate:
        seconds = (now - before.updated_at).total_seconds()
        return continued(before.rate, current - before.current, max(seconds, 0), left)
    seconds, gained = (now - run.started_at).total_seconds(), current - run.first
    if seconds < SETTLING or gained <= 0:
        return UNKNOWN
    return continued(gained / seconds, 0, 0, left)
