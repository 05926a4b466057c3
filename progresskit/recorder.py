"""Turns the state of a job into the records that are written of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import validation
from .errors import PublicError
from .estimate import RateEstimator
from .progress import Failure, Progress, Role, State, Version, Write, encode, life_of, milliseconds, moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Clocks(Protocol):
    """The two clocks of a kit, and how long its records count."""

    lease: float
    ttl: float

    def clock(self) -> float:
        """Return seconds that never go back."""

    def wall(self) -> float:
        """Return seconds since the epoch."""


class Reading(NamedTuple):
    """What a job has reported, at one moment."""

    current: float
    total: float | None
    description: str | None
    unit: str | None
    meta: Mapping[str, Any]
    cancel_requested: bool


class Outcome(NamedTuple):
    """How a job, or an attempt of it, came out."""

    state: State
    result: Any = None
    error: Failure | None = None
    next_retry_at: datetime | None = None


def failure(error: BaseException | Failure | str | None) -> Failure | None:
    """Return what is kept of an error."""
    if error is None or isinstance(error, Failure):
        return error
    if isinstance(error, str):
        return Failure("Error", validation.text(error, validation.MESSAGE_LENGTH))
    try:
        message: str | None = validation.text(str(error), validation.MESSAGE_LENGTH)
    except Exception:
        message = None  # an error that cannot even say what it is
    return Failure(validation.text(type(error).__name__), message, isinstance(error, PublicError))


def public_failure(text: str) -> Failure:
    """Return a failure with a text that was written for the people who watch the job."""
    return Failure("Error", validation.text(text, validation.MESSAGE_LENGTH), public=True)


def word(
    clocks: Clocks,
    id: str,
    state: State,
    *,
    kind: str | None,
    attempt: int,
    error: BaseException | Failure | str | None,
    owner: str | None = None,
) -> Write:
    """Return what somebody else than the worker says of a job: that it is pending, or how it came out."""
    now = moment(clocks.wall())
    seq = 1 if state.final else 0
    said = Progress(
        id=id,
        state=state,
        version=Version(1, attempt, seq),
        kind=kind,
        error=error if isinstance(error, Failure) else failure(error),
        created_at=now,
        updated_at=now,
        finished_at=now if state.final else None,
        lease=clocks.lease,
        owner=owner,
    )
    return Write(
        id=id,
        role=Role.WORD,
        token=None,
        run=0,
        attempt=attempt,
        seq=seq,
        state=state,
        kind=kind,
        body=encode(said),
        lease=clocks.lease,
        ttl=clocks.ttl,
        created=milliseconds(now),
    )


RUNNING = Outcome(State.RUNNING)


class Identity(NamedTuple):
    """The values of a job that never change."""

    id: str
    token: str
    """Distinguishes this start of the job from every other one."""
    kind: str | None = None
    parent: str | None = None
    attempt: int = 1
    owner: str | None = None


class Recorder:
    """
    The records of one job, numbered in order.

    Not for several threads at once: the job guards it.
    """

    __slots__ = (
        "_clocks",
        "_created",
        "_life",
        "_rate",
        "_seq",
        "began",
        "identity",
        "last",
        "run",
        "seen",
        "started",
        "write",
    )

    def __init__(self, clocks: Clocks, identity: Identity) -> None:
        self.identity = identity
        self.run = self._seq = 0
        self.started = False
        self.seen: Reading | None = None
        self.last: Progress | None = None
        self.write: Write | None = None
        self._clocks = clocks
        self._created = moment(clocks.wall())
        self.began = clocks.clock()
        self._life = life_of(milliseconds(self._created))
        self._rate = RateEstimator(0, self.began)

    def record(self, reading: Reading, outcome: Outcome = RUNNING) -> Write:
        """Make the next record of the job, to be written."""
        self._seq += 1
        job = self.identity
        self._rate.sample(reading.current, self._clocks.clock())
        self.seen = reading
        self.last = self.snapshot(reading, outcome)
        self.write = Write(
            id=job.id,
            role=Role.START,
            token=job.token,
            run=self.run,
            attempt=job.attempt,
            seq=self._seq,
            state=outcome.state,
            kind=job.kind,
            body=encode(self.last),
            lease=self._clocks.lease,
            ttl=self._clocks.ttl,
            created=milliseconds(self._created),
        )
        return self.again(self.write)

    def again(self, write: Write) -> Write:
        """Return a record as it is to be written by what is known of the job's start by now."""
        return write._replace(role=Role.UPDATE if self.started else Role.START, run=self.run)

    def mark_stored(self, run: int | None) -> None:
        """Note that a record is stored, and in which run."""
        self.started = True
        if run and run != self.run:
            self.run = run
            if self.last is not None:
                self.last = self.last._replace(version=self.last.version._replace(run=run))

    def snapshot(self, reading: Reading, outcome: Outcome = RUNNING) -> Progress:
        """Return the job as it stands, under the number of the last record made."""
        now, job = moment(self._clocks.wall()), self.identity
        estimate = self._rate.estimate(reading.total)
        return Progress(
            id=job.id,
            state=outcome.state,
            version=Version(self.run or 1, job.attempt, self._seq),
            kind=job.kind,
            current=reading.current,
            total=reading.total,
            unit=reading.unit,
            description=reading.description and validation.text(reading.description),
            meta=reading.meta,
            rate=estimate.rate,
            eta=estimate.eta if outcome.state is State.RUNNING else None,
            result=outcome.result,
            error=outcome.error,
            cancel_requested=reading.cancel_requested,
            parent=job.parent,
            created_at=self._created,
            started_at=self._created,
            updated_at=now,
            finished_at=now if outcome.state.final else None,
            next_retry_at=outcome.next_retry_at,
            lease=self._clocks.lease,
            owner=job.owner,
            life=self._life,
        )
