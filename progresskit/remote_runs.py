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
from .errors import BackendUnavailable, InvalidValue
from .estimate import SETTLING, UNKNOWN, Estimate, continued
from .progress import DERIVED, Details, Progress, Role, State, Version, moment
from .snapshots import write_of_remote
from .steps import WHOLE, Step, StepState, ended, percent_of, share_of_items, share_of_steps

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
    `started_at` identifies the run among the records of the job, `first` is the count of its first report. `weight` is
    that of the part that the job is, if it is one.
    """

    id: str
    token: str
    number: int
    started_at: datetime
    first: Number
    weight: int = 1


class StepReport(NamedTuple):
    """The step that a program is in; `values` has those of `current` and `total` that it gives."""

    name: str
    values: Mapping[str, Any] = {}


class RemoteReport(NamedTuple):
    """
    A report; its number `seq` increases within the run.

    `values` has those of `current`, `total`, `unit`, `description` and `meta` that it gives; the others stay as they
    are. `weight` is that of a part, `steps` declares the steps of the job with their weights, and `step` is the one
    that the program is in. All values are valid by themselves.
    """

    seq: int
    state: State = State.RUNNING
    values: Mapping[str, Any] = {}
    result: Any = None
    error: Failure | None = None
    next_retry_at: datetime | None = None
    weight: int | None = None
    steps: Mapping[str, int] | None = None
    step: StepReport | None = None

    def is_in(self, record: Progress) -> bool:
        """Return whether a record of this `seq` says the same: the report is repeated, as its answer was lost."""
        ends = (record.state, record.result, record.error, record.next_retry_at)
        if ends != (self.state, self.result, self.error, self.next_retry_at):
            return False
        if self.steps is not None and self.steps != _weights(record.steps):
            return False
        values = self.values
        if self.step is not None:
            if not record.steps or not record.step or record.steps[record.step - 1].name != self.step.name:
                return False
            values = {**values, **self.step.values}
        return all(getattr(record, name) == value for name, value in values.items())


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
    """
    Stores the reports of programs elsewhere.

    Its methods raise BackendError where a report cannot be stored, and InvalidValue for one that the job cannot take: a
    weight if it is no part, a step if it has declared none, a count beside that of its steps.
    """

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
        run = RemoteRun(id, make_token(id, now), 0, now, report.values.get("current", 0), report.weight or 1)
        awaiting = before if before is not None and _is_awaiting(before) else None
        attempt = 1 if awaiting is None else awaiting.attempt + (awaiting.state is State.RETRYING)
        about = Details() if awaiting is None else _about(awaiting)
        if report.weight is not None and about.part_of is None:
            raise InvalidValue("`weight` is for a job that is a part of another one.")
        owner = None if awaiting is None else awaiting.owner
        has_parts = awaiting is not None and awaiting.tally is not None
        details = _with_steps(_restarted(about), report, can_declare=not has_parts)
        record = self._record(run, attempt, report, details, owner)
        return self._store(run, record, Role.START)

    def go_on(self, run: RemoteRun, report: RemoteReport) -> Accepted | Conflict:
        """Store a later report of a run."""
        if report.weight not in (None, run.weight):
            raise InvalidValue("`weight` is that of the report which has started the run.")
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
        if attempt > before.attempt:
            kept = _restarted(kept)
        details = _with_steps(kept, report, can_declare=before.tally is None)
        record = self._record(run, attempt, report, details, before.owner, before)
        return self._store(run, record, Role.UPDATE)

    def _restore(self, run: RemoteRun, report: RemoteReport) -> Accepted | Conflict:
        """Store a report of a run that is not stored; where another run is stored, the fold decides."""
        record = self._record(run, 1, report, _with_steps(Details(), report, is_lost=True), None)
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
            steps=details.steps if details.steps is None or state is State.RUNNING else ended(details.steps, state),
        )
        version = Version(run.number or 1, attempt, report.seq)
        return Progress(run.id, state, version, **details._asdict(), lease=self._publisher.lease, owner=owner)

    def _store(
        self, run: RemoteRun, record: Progress, role: Role, *, age: float = 0, late: bool = False
    ) -> Accepted | Conflict:
        publisher = self._publisher
        write = write_of_remote(publisher, record, role, run.token, run.number, run.weight)._replace(late=late)
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
    about = Details(kind=record.kind, parent=record.parent, part_of=record.part_of)
    if record.steps is None:
        return about
    return about._replace(steps=record.steps, step=record.step, given_percent=record.given_percent)


def _values(record: Progress) -> dict[str, Any]:
    """Return the details of a job that reports set."""
    return {name: getattr(record, name) for name in ("current", "total", "unit", "description", "meta")}


def _has_taken(after: Progress, run: RemoteRun, record: Progress) -> bool:
    """Return whether the stored record is this record of the run, or a later one."""
    if after.started_at != run.started_at or after.version[1:] < record.version[1:]:
        return False
    return after.state is record.state or not record.done


def _weights(steps: tuple[Step, ...] | None) -> dict[str, int | None] | None:
    return None if steps is None else {step.name: step.weight for step in steps}


def _restarted(details: Details) -> Details:
    """Return the details of a job for its next attempt, in which no declared step has begun."""
    if details.steps is None:
        return details
    steps = tuple(Step(step.name, step.weight) for step in details.steps)
    return details._replace(current=0, total=None, steps=steps, step=None, given_percent=0)


def _with_steps(kept: Details, report: RemoteReport, *, can_declare: bool = True, is_lost: bool = False) -> Details:
    """
    Return the details of a job after a report: those kept from the record before, with what it gives.

    With `is_lost` the store has lost that record, and a step may be one that was declared in it.
    """
    steps, step = kept.steps, report.step
    if report.steps is not None and report.steps != _weights(steps):
        if not can_declare or steps is not None or kept.current or kept.total is not None:
            raise InvalidValue("`steps` are declared once, before the job counts, and for a job without parts.")
        steps = tuple(Step(name, weight) for name, weight in report.steps.items())
        kept = kept._replace(steps=steps, given_percent=0)
    if steps is None and step is None:
        return kept._replace(**report.values)
    if not report.values.keys().isdisjoint(_COUNT):
        raise InvalidValue("`current` and `total` are those of a step, inside of `step`: the job counts by its steps.")
    kept = kept._replace(**report.values)
    return kept if step is None else _in_step(kept, () if steps is None and is_lost else steps, step)


def _in_step(kept: Details, steps: tuple[Step, ...] | None, step: StepReport) -> Details:
    """Return details in which the program is in that step: it has left the one before, which has succeeded so."""
    if steps is None:
        raise InvalidValue("`step` is for a job that has declared its `steps`.")
    number = next((number for number, each in enumerate(steps, 1) if each.name == step.name), None)
    if number is None:
        if steps and steps[0].weight is not None:
            raise InvalidValue("`step` has the name of one that `steps` has declared.")
        steps, number = (*steps, Step(step.name)), len(steps) + 1
    count = (kept.current, kept.total) if number == kept.step else (0, None)
    current, total = (step.values.get(name, value) for name, value in zip(_COUNT, count, strict=True))
    share = share_of_items(current, total)
    steps = tuple(
        each._replace(state=StepState.RUNNING, percent=percent_of(share))
        if place == number
        else each._replace(state=StepState.SUCCEEDED, percent=100)
        if each.state is StepState.RUNNING
        else each
        for place, each in enumerate(steps, 1)
    )
    percent = percent_of(share if steps[0].weight is None else _share_of(steps))
    return kept._replace(current=current, total=total, steps=steps, step=number, given_percent=percent)


_COUNT = ("current", "total")


def _share_of(steps: tuple[Step, ...]) -> int:
    """Return the share of a job with these declared steps."""
    return share_of_steps((step.weight or 1, round((step.percent or 0) * 100)) for step in steps)


def _estimate(run: RemoteRun, before: Progress | None, details: Details, now: datetime) -> Estimate:
    """Return the rate of the count, and the time left of the job, after the record before."""
    if before is None or before.updated_at is None:
        return UNKNOWN
    since = max((now - before.updated_at).total_seconds(), 0)
    lasted = (now - run.started_at).total_seconds()
    current, total = details.current, details.total
    if details.given_percent == DERIVED:
        left = None if total is None else max(total - current, 0)
        return _continued(before.rate, before.current, current, since, left, current - run.first, lasted)
    rate = None
    if before.step == details.step:
        gained = current - before.current
        rate = _continued(before.rate, before.current, current, since, None, gained, since).rate
    if before.percent is None or details.given_percent is None:
        return Estimate(rate, None)
    past, share = round(before.percent * 100), round(details.given_percent * 100)
    speed = (WHOLE - past) / before.eta if before.eta else None
    return Estimate(rate, _continued(speed, past, share, since, WHOLE - share, share, lasted).eta)


def _continued(
    rate: float | None,
    before: Number,
    current: Number,
    since: float,
    left: Number | None,
    gained: Number,
    lasted: float,
) -> Estimate:
    """Return the estimate of a count that was `before`; without a rate, by what it `gained` in the time it lasted."""
    if current < before:
        return UNKNOWN
    if rate:
        return continued(rate, current - before, since, left)
    if lasted < SETTLING or gained <= 0:
        return UNKNOWN
    return continued(gained / lasted, 0, 0, left)
