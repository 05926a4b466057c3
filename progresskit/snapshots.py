"""Builds the records of a job from its reports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import validation
from .errors import PublicError
from .estimate import UNKNOWN, Estimate, RateEstimator
from .parts import Declaration, Report
from .progress import (
    DERIVED,
    Details,
    Failure,
    Progress,
    Role,
    State,
    Version,
    Write,
    encode,
    life_of,
    milliseconds,
    moment,
)
from .steps import WHOLE, ended, percent_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .job import Job
    from .stages import Work
    from .steps import Step


class Clocks(Protocol):
    """The two clocks of a kit, and the lease and ttl of its records in seconds."""

    lease: float
    ttl: float

    def clock(self) -> float:
        """Return seconds that never go back."""

    def wall(self) -> float:
        """Return seconds since the epoch."""


class Sample(NamedTuple):
    """The values that a job has reported, at one moment."""

    work: Work
    description: str | None
    meta: Mapping[str, Any]
    cancel_requested: bool


class Result(NamedTuple):
    """The end of a job, or of an attempt of it; or that it is running."""

    state: State
    result: Any = None
    error: Failure | None = None
    next_retry_at: datetime | None = None


def failure(error: BaseException | Failure | str | None) -> Failure | None:
    """Return the part of an error that is recorded: its type and message."""
    if error is None or isinstance(error, Failure):
        return error
    if isinstance(error, str):
        return Failure("Error", validation.text(error, validation.MESSAGE_LENGTH))
    try:
        message: str | None = validation.text(str(error), validation.MESSAGE_LENGTH)
    except Exception:
        message = None  # its __str__ raises
    return Failure(validation.text(type(error).__name__), message, isinstance(error, PublicError))


def public_failure(text: str) -> Failure:
    """Return a failure with a text that is meant for viewers of the job."""
    return Failure("Error", validation.text(text, validation.MESSAGE_LENGTH), public=True)


def external_update(
    clocks: Clocks,
    id: str,
    state: State,
    *,
    kind: str | None,
    attempt: int,
    error: Failure | None,
    made: float,
    owner: str | None = None,
    part: PartIdentity | None = None,
) -> Write:
    """
    Return the write of a sender or supervisor: the job is pending, or has ended in this state.

    It was `made` at that time, in seconds since the epoch.

    The end of a `part` is reported to its parent too. One that waits is only counted in the parent's size.
    """
    now = moment(made)
    progress = Progress(
        id=id,
        state=state,
        version=Version(1, attempt, int(state.final)),
        kind=kind,
        error=error,
        created_at=now,
        updated_at=now,
        finished_at=now if state.final else None,
        lease=clocks.lease,
        owner=owner,
        part_of=part and part.parent,
    )
    report = None if part is None or not state.final else _report_of(clocks, part, None, progress)
    return _write_of(clocks, progress, Role.EXTERNAL, None, report=report)


def declaration(
    clocks: Clocks,
    id: str,
    token: str,
    size: int | None,
    *,
    weight: int | None,
    details: Details,
    owner: str | None,
) -> Write:
    """Return the write that declares how many parts a job has, with the texts of its record."""
    now, keeps_texts = moment(clocks.wall()), details == Details()
    details = details._replace(created_at=now, updated_at=now)
    progress = Progress(id, State.PENDING, Version(1, 1, 0), **details._asdict(), lease=clocks.lease, owner=owner)
    declared = Declaration(token, size, weight, keeps_texts=keeps_texts)
    return _write_of(clocks, progress, Role.DECLARE, token, declaration=declared)


def write_of_remote(clocks: Clocks, progress: Progress, role: Role, token: str, run: int, weight: int) -> Write:
    """Return the write of a record that a program elsewhere has reported, with the report of a part to its parent."""
    part = None if progress.part_of is None else PartIdentity(progress.part_of, progress.id, weight)
    report = part and _report_of(clocks, part, token, progress)._replace(is_start=role is Role.START)
    return _write_of(clocks, progress, role, token, run=run, report=report)


def _write_of(
    clocks: Clocks,
    progress: Progress,
    role: Role,
    token: str | None,
    *,
    run: int = 0,
    body: str | None = None,
    declaration: Declaration | None = None,
    report: Report | None = None,
) -> Write:
    """Return the write of a record; with the `body` that is given, if one is."""
    _, attempt, seq = progress.version
    return Write(
        id=progress.id,
        role=role,
        token=token,
        run=run,
        attempt=attempt,
        seq=seq,
        state=progress.state,
        kind=progress.kind,
        body=encode(progress) if body is None else body,
        lease=clocks.lease,
        ttl=clocks.ttl,
        created=milliseconds(progress.created_at),
        declaration=declaration,
        report=report,
    )


def _report_of(clocks: Clocks, part: PartIdentity, token: str | None, progress: Progress) -> Report:
    """Return what the parent of a part stores of its record; without the `token` of a start, of an external update."""
    return Report(
        parent=part.parent,
        name=part.name,
        token=token,
        run_token=part.run_token,
        state=progress.state,
        weight=part.weight,
        hundredths=round((progress.percent or 0) * 100),
        lease=clocks.lease,
        ttl=clocks.ttl,
        created=milliseconds(progress.created_at),
    )


RUNNING = Result(State.RUNNING)


class Identity(NamedTuple):
    """The values of a job that never change."""

    id: str
    token: str
    """Distinguishes this start of the job from every other one."""
    kind: str | None = None
    parent: str | None = None
    attempt: int = 1
    owner: str | None = None
    part: PartIdentity | None = None
    """Of which job this one is a part."""
    whole: Job | None = None
    """That job, if it surrounds this one in this process: it gets to know the token of its run."""
    start: Role = Role.START
    """The role of its first record."""


class PartIdentity(NamedTuple):
    """
    The part of another job that a job is.

    A part without a record of its own exists only among the parts of its parent; the id of its job is
    `<parent>/<name>`, which is not an id that can be read. `run_token` is that of the parent's run, None where it is
    not known: the part belongs to the run that accepts its first report.
    """

    parent: str
    name: str
    weight: int = 1
    has_record: bool = True
    run_token: str | None = None


class _Speed:
    """Measures how fast a job counts, and how fast the share of the whole job grows where that is another count."""

    __slots__ = ("_counted", "_rate", "_whole")

    def __init__(self, began: float) -> None:
        self._rate = RateEstimator(0, began)
        self._counted: tuple[int, int] | None = None
        self._whole: RateEstimator | None = None

    def sample(self, work: Work, now: float) -> None:
        """Take the count at that moment of the clock."""
        if work.counted != self._counted:
            if self._counted is not None:
                self._rate = RateEstimator(work.current, now)
            self._counted = work.counted
        self._rate.sample(work.current, now)
        if work.is_divided and work.share is not None:
            if self._whole is None:
                self._whole = RateEstimator(work.share, now)
            self._whole.sample(work.share, now)

    def estimate(self, work: Work) -> Estimate:
        """Return the rate of the count that is shown, and the time left of the whole job."""
        estimate = self._rate.estimate(work.total)
        if not work.is_divided:
            return estimate
        whole = self._whole
        return Estimate(estimate.rate, None if whole is None or work.share is None else whole.estimate(WHOLE).eta)


class SnapshotBuilder:
    """
    Builds the records of one job, numbered in order.

    For one thread at a time: the job guards it.
    """

    __slots__ = (
        "_clocks",
        "_created",
        "_declaration",
        "_seq",
        "_speed",
        "began",
        "identity",
        "last",
        "run",
        "run_token",
        "seen",
        "started",
        "write",
    )

    def __init__(self, clocks: Clocks, identity: Identity) -> None:
        self.identity = identity
        self.run = self._seq = 0
        self.run_token = identity.part and identity.part.run_token
        self.started = False
        self.seen: Sample | None = None
        self.write: Write | None = None
        self.last: Progress | None = None
        """The last record that was made; None while there is none."""
        self._declaration: Declaration | None = None
        self._clocks = clocks
        self._created = clocks.wall()
        self.began = clocks.clock()
        self._speed: _Speed | None = None  # none in a job that ends before its first sample

    def declare_parts(self, size: int) -> None:
        """Say with the next record, and each later one, how many parts the job has."""
        offset = self._clocks.clock() - self.began
        self._declaration = Declaration(
            os.urandom(8).hex() if self._declaration else self.identity.token, size, None, offset
        )

    def record(self, sample: Sample, result: Result = RUNNING) -> Write:
        """Return the next record of the job, to be written."""
        self._seq += 1
        if self._speed is None and result.state is State.RUNNING:
            self._speed = _Speed(self.began)
        if self._speed is not None:
            self._speed.sample(sample.work, self._clocks.clock())
        self.seen = sample
        self.last = last = self.snapshot(sample, result)
        token, part = self.identity.token, self.identity.part
        has_record = part is None or part.has_record
        self.write = _write_of(
            self._clocks,
            last,
            self._role if has_record else Role.REPORT,
            token,
            run=self.run,
            body=None if has_record else "",
            declaration=self._declaration,
            report=None if part is None else _report_of(self._clocks, part, token, last),
        )
        return self.write if part is None else self.again(self.write)

    @property
    def _role(self) -> Role:
        return Role.UPDATE if self.started else self.identity.start

    def again(self, write: Write) -> Write:
        """Return a record with the role and run that are known by now."""
        report = write.report
        if report is not None:
            whole = self.identity.whole
            if self.run_token is None and whole is not None:
                self.run_token = whole.run_token
            report = report._replace(run_token=self.run_token, is_start=not self.started)
        if write.role is Role.REPORT:
            return write._replace(report=report)
        return write._replace(role=self._role, run=self.run, report=report)

    def mark_stored(self, run: int | None, run_token: str | None) -> None:
        """Note that a record is stored, the number of its run, and to which run of its parent a part belongs."""
        self.started = True
        if run_token is not None and self.run_token is None:
            self.run_token = run_token
        if run and run != self.run:
            self.run = run
            if self.last is not None:
                self.last = self.last._replace(version=self.last.version._replace(run=run))

    def snapshot(self, sample: Sample, result: Result = RUNNING) -> Progress:
        """Return the job as it stands, under the number of the last record made."""
        created, now = moment(self._created), moment(self._clocks.wall())
        job, work = self.identity, sample.work
        estimate = UNKNOWN if self._speed is None else self._speed.estimate(work)
        return Progress(
            id=job.id,
            state=result.state,
            version=Version(self.run or 1, job.attempt, self._seq),
            kind=job.kind,
            current=work.current,
            total=work.total,
            unit=work.unit,
            description=sample.description and validation.text(sample.description),
            meta=sample.meta,
            rate=estimate.rate,
            eta=estimate.eta if result.state is State.RUNNING else None,
            result=result.result,
            error=result.error,
            cancel_requested=sample.cancel_requested,
            parent=job.parent,
            created_at=created,
            started_at=created,
            updated_at=now,
            finished_at=now if result.state.final else None,
            next_retry_at=result.next_retry_at,
            lease=self._clocks.lease,
            owner=job.owner,
            life=life_of(milliseconds(created)),
            steps=_steps_after(work.steps, result.state),
            step=work.step,
            given_percent=percent_of(work.share) if work.is_divided else DERIVED,
            part_of=job.part.parent if job.part and job.part.has_record else None,
        )


def _steps_after(steps: tuple[Step, ...] | None, state: State) -> tuple[Step, ...] | None:
    return steps if steps is None or state is State.RUNNING else ended(steps, state)
