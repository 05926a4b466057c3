"""
A job of this process, as the rest of the kit knows it: its life, its records, and the observers attached to it.

User code has handles of it, which share it and expose none of this: see observer.py. A handle refers to the job, and
the job to the slots of its opener's handle only weakly, so that a job can be ended once its handle is dropped.
"""

from __future__ import annotations

import sys
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import ref

from . import validation
from .cancelled_error import cancelled_error
from .counting import CountSlots
from .errors import Cancelled, InvalidValue
from .observer_list import ObserverList
from .progress import State
from .reports import bind
from .snapshots import Clocks, Result, Sample, SnapshotBuilder, failure
from .stages import Stage, Stages
from .steps import StepState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from .counting import Count, LoopCounter
    from .observer_list import AttachedObserver, Notify
    from .progress import Failure, Progress, Write
    from .reports import AnyReports
    from .snapshots import Identity
    from .stages import AnyShared


class Sink(Clocks, Protocol):
    """The publisher, as far as a job needs it."""

    strict: bool
    control_exceptions: dict[type[BaseException], State]
    observers: tuple[AttachedObserver, ...]

    @property
    def generation(self) -> int:
        """The number of forks until now: a job of another generation belongs to the parent process."""

    def wake(self) -> None:
        """Sample the jobs soon: one of them reports again after a quiet time."""

    def call_later(self, act: Callable[[], None]) -> None:
        """Call `act` in the publisher's thread; safe in a finalizer."""

    def end(self, job: Job, write: Write, *, wait: bool) -> None:
        """Publish the last record, and `wait` until it is stored or waiting is no use: at most `flush_seconds`."""

    async def aend(self, job: Job, write: Write) -> None:
        """Publish the last record, and wait for it without blocking the running event loop."""


class Job:
    """
    One job, from the call that opens it to its end.

    `slots` are those of the handle that opened it. Raises InvalidValue for a `kind` that is no text if the kit is
    strict.
    """

    __slots__ = (
        "__weakref__",
        "_builder",
        "_cancel_requested",
        "_generation",
        "_is_quiet",
        "_lock",
        "_observers",
        "_sink",
        "_slots",
        "_stages",
        "cancellable",
        "description",
        "dropped",
        "has_ended",
        "id",
        "meta",
    )

    def __init__(self, sink: Sink, identity: Identity, slots: CountSlots, *, cancellable: bool = False) -> None:
        self.id, self.cancellable = identity.id, cancellable
        self._cancel_requested = False
        self.dropped = 0
        """How many bad values were dropped."""
        self.has_ended = self._is_quiet = False  # two fields, because reports change the second without a lock
        self._sink, self._generation = sink, sink.generation
        self._lock = RLock()  # a finalizer may run, and report, while its own thread holds the lock
        self._observers = ObserverList(sink.observers)
        self._slots = ref(slots)
        self._stages: dict[str, Stages] = {}  # at most one, by the id of the job
        self.description: str | None = None
        """The text that was reported last, neither cut nor cleaned yet."""
        self.meta: Mapping[str, Any] = {}
        kind, part = self.validated("kind", validation.text, identity.kind), identity.part
        if kind is not identity.kind:
            identity = identity._replace(kind=kind)
        if part is not None:
            weight = self.validated("weight", validation.weight, part.weight) or 1
            identity = identity._replace(part=part._replace(weight=weight))
        self._builder = SnapshotBuilder(sink, identity)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def stages(self) -> Stages:
        """The stages of the job, made when they are first asked for: a short task has ended before one is needed."""
        made = self._stages.get(self.id)
        # `setdefault` is one step, so that there is one object without a lock: finalizers ask for it too.
        return made or self._stages.setdefault(self.id, Stages(self._slots() or CountSlots()))

    @property
    def token(self) -> str:
        """Distinguishes this start of the job from every other one."""
        return self._builder.identity.token

    @property
    def owner(self) -> str | None:
        """The key of the job's owner; None if it has no owner."""
        return self._builder.identity.owner

    @property
    def cancel_ids(self) -> tuple[str, ...]:
        """The ids under which requests to cancel reach this job: its own, and its parent's if it is a part."""
        part = self._builder.identity.part
        if part is None:
            return (self.id,)
        return (self.id, part.parent) if part.has_record else (part.parent,)

    @property
    def label(self) -> str:
        """The id by which other jobs refer to this one: its own, or that of its parent for a part without a record."""
        part = self._builder.identity.part
        return self.id if part is None or part.has_record else part.parent

    @property
    def run(self) -> int:
        """The number of this run; 0 while it is not known."""
        return self._builder.run

    @property
    def run_token(self) -> str | None:
        """
        The token of this run, to which parts belong; None while it is not known.

        A run has the token of its worker unless a declaration or a part began it, which the first answer of the store
        says. A part of a job that ended before that answer has this token too: it must not count in the next run.
        """
        builder = self._builder
        if builder.run_token is None and (builder.started or self.has_ended):
            return builder.identity.token
        return builder.run_token

    @property
    def began(self) -> float:
        """When the job began in this process, by the kit's monotonic clock."""
        return self._builder.began

    @property
    def progress(self) -> Progress:
        """The job as it stands in this process."""
        with self._lock:
            builder = self._builder
            sample = None if self.has_ended else self._sample()
            last = builder.last if sample is None or sample == builder.seen else None
            return last or builder.snapshot(sample or self._sample())

    # Reports, on the slow path.

    def admit(self) -> bool:
        """
        Act on the reason why the gate was shut; return whether the job still takes reports.

        Raises Cancelled in a cancellable job that was asked to stop.
        """
        if self.has_ended:
            return False
        if self._must_stop:
            raise cancelled_error(self.id)
        self._wake()
        return True

    def _wake(self) -> None:
        if self._is_quiet:
            self._is_quiet = False
            self.open_gates()
            self._sink.wake()

    def check_cancelled(self) -> None:
        """Raise Cancelled if the job was asked to stop."""
        if self.cancel_requested:
            raise cancelled_error(self.id)

    def validated(self, name: str, convert: Callable[[Any], Any], value: Any) -> Any:
        """Return the value as it is kept; None for None and for a bad value, which is dropped."""
        if value is None:
            return None
        try:
            return convert(value)
        except ValueError as problem:
            self.drop(name, problem)
            return None

    def drop(self, name: str, problem: ValueError) -> None:
        """Count a bad value; the first one is logged. Raises InvalidValue if the kit is strict."""
        if self._sink.strict:
            raise InvalidValue(f"{name} {problem}") from None
        self.dropped += 1
        if self.dropped == 1:
            from logging import getLogger

            getLogger("progresskit").warning(
                "Job %s: dropped a bad value; later ones are dropped without a warning: %s %s", self.id, name, problem
            )

    def open_gate(self, count: Count) -> None:
        """Let reports be stored without another look, unless there is something to do first."""
        if self.has_ended or self._is_quiet or self._must_stop:
            count.shut_gate()
        else:
            count.open_gate()

    def open_gates(self) -> None:
        """Do as `open_gate` for the job and each open step."""
        if self.has_ended or self._is_quiet or self._must_stop:
            self.stages.shut_gates()
        else:
            self.stages.open_gates()

    @property
    def cancel_requested(self) -> bool:
        """True once the job was asked to stop."""
        return self._cancel_requested

    @property
    def _must_stop(self) -> bool:
        return self.cancellable and self.cancel_requested

    # Other processes.

    def share(self, stage: Stage, new: Callable[[], AnyShared]) -> AnyShared | None:
        """Return what other processes count in that stage, which `new` makes; None where it does not count."""
        with self._lock:
            if self.has_ended:
                return None
            if not stage.counts_items:
                self.drop("initializer()", ValueError(stage.problem))
                return None
            shared = self.stages.share(stage, new)
        if self.cancel_requested:
            shared.stop()
        return shared

    @property
    def count_at_once(self) -> Callable[[float], None] | None:
        """Counts an item of a loop where it has to be counted before the next one; None where the counter is read."""
        return None

    # Loops.

    def count_with(
        self,
        stage: Stage,
        counter: LoopCounter,
        total: float | None,
        unit: str | None = None,
        *,
        body: ref[Any],
        is_job: bool = False,
    ) -> bool | None:
        """
        Count the items of a loop in that stage; return False for one in the body of another, None once the job ended.

        If the stage was given no total, the loop makes it its own: the count restarts at 0, with this total. `body`
        lives as long as the loop; `is_job` is True for a loop that is the whole job.
        """
        with self._lock:
            if self.has_ended:
                return None
            if not stage.counts_items:
                self.drop("track()", ValueError(stage.problem))
            total = self.validated("total", validation.count, total)
            unit = self.validated("unit", validation.text, unit)
            is_outer = stage.begin_loop(counter, total, body, is_job=is_job)
            if is_outer and unit is not None:
                stage.count.loop_unit = unit
        if self._must_stop:
            counter.stop()
        return is_outer

    def retotal(self, stage: Stage, counter: LoopCounter, total: float | None) -> None:
        """Replace the total of a loop, whose length has become known or has changed."""
        total = self.validated("total", validation.count, total)
        with self._lock:
            stage.retotal(counter, total)
        self._wake()

    def stop_counting(self, stage: Stage, counter: LoopCounter | None = None) -> None:
        """Keep the items of the counter, or of any, and count by calls again."""
        with self._lock:
            stage.count.fold(counter)
        self.open_gate(stage.count)

    # Steps.

    def declare(
        self, stage: Stage, steps: Mapping[str, int] | Iterable[str] | None, new: Callable[[], AnyReports]
    ) -> None:
        """Have a stage count by these steps only; without effect for None. `new` makes the reports of each."""
        weights = self.validated("steps", validation.steps, steps)
        if weights is None:
            return
        with self._lock:
            try:
                stage.declare(weights, new)
            except ValueError as problem:
                self.drop("steps", problem)

    def declare_parts(self, stage: Stage, size: Any) -> None:
        """Have the job, which is that stage, count by so many parts only; without effect for None."""
        size = self.validated("parts", validation.size, size)
        if size is None:
            return
        with self._lock:
            try:
                stage.declare_parts()
            except ValueError as problem:
                self.drop("parts", problem)
            else:
                self._builder.declare_parts(size)

    def step(
        self, outer: Stage, name: str, total: float | None, unit: str | None, new: Callable[[], AnyReports]
    ) -> AnyReports:
        """
        Return the reports of a step, those that `new` has made for it.

        Reports of a step that is refused, or of a job that has ended, do not count.
        """
        with self._lock:
            stage, reports = self._find_step(outer, name, new)
            if (number := self.validated("total", validation.count, total)) is not None:
                stage.give_total(number, total)
            if (unit := self.validated("unit", validation.text, unit)) is not None:
                stage.count.give_unit(unit)
        return bind(reports, self, stage)

    def _find_step(self, outer: Stage, name: str, new: Callable[[], AnyReports]) -> tuple[Stage, AnyReports]:
        if not self.has_ended:
            try:
                stage = outer.step(validation.step_name(name), new)
            except ValueError as problem:
                self.drop("step", problem)
            else:
                return stage, cast("AnyReports", stage.slots)
        refused = new()
        return Stage(refused), refused

    def enter(self, step: Stage) -> None:
        """Enter a step."""
        with self._lock:
            self.stages.enter(step)
        self.open_gate(step.count)
        self._wake()

    def leave(self, step: Stage, error: BaseException | None) -> None:
        """Leave a step by an exception, or by none."""
        state = _state_after(error, self._sink.control_exceptions)
        with self._lock:
            self.stages.leave(step, _STEP_STATES.get(state, StepState.CANCELLED))
        self._wake()

    # The publisher.

    def _sample(self) -> Sample:
        work, text = self.stages.work(), self.stages.take_text()
        if text is not None:
            self.description = text
        return Sample(work, self.description, self.meta, self.cancel_requested)

    def sample(self) -> Write | None:
        """
        Return a record to be written if the job has changed since the last one, or has none yet.

        If it has not, the next report wakes the publisher.
        """
        with self._lock:
            if self.has_ended:
                return None
            sample = self._sample()
            if sample != self._builder.seen:
                return self._builder.record(sample)
            self._is_quiet = True
            self.stages.shut_gates()
            return None

    def resend(self) -> Write | None:
        """Return the last record, to be written again; None once the job has ended in this process."""
        with self._lock:
            last = self._builder.write
            return None if self.has_ended or last is None else self._builder.again(last)

    def may_have_parts(self, sink: Sink) -> bool:
        """Return whether a job of that publisher may be a part of this one."""
        return self._sink is sink and self._builder.identity.part is None

    def mark_stored(self, run: int | None, run_token: str | None = None) -> None:
        """Note that a record is stored, the number of its run, and to which run of its parent a part belongs."""
        with self._lock:
            before = self.run
            self._builder.mark_stored(run, run_token)
        if 0 < before < self.run:  # else two processes with one id by mistake would look as if one made no reports
            from logging import getLogger

            getLogger("progresskit").warning(
                "Job %s was started again, by another process perhaps: the record belongs to that newer start, and "
                "the reports of this one are ignored. Give each job an id of its own",
                self.id,
            )

    def request_cancel(self) -> None:
        """Ask the job to stop."""
        self._cancel_requested = True
        self.stages.stop_shared()
        if self.cancellable:
            self.stages.shut_gates()
            self.stages.stop_loops()

    def call_later(self, act: Callable[[], None]) -> None:
        """Call `act` in the publisher's thread, between two rounds; safe in a finalizer."""
        self._sink.call_later(act)

    # Observers.

    def attach(self, observer: Notify) -> Callable[[], None]:
        """Notify the observer from now on; return a function that detaches it."""
        return self._observers.attach(observer)

    def notify_observers(self) -> None:
        """Notify the attached observers of the last record, unless they had it."""
        if not self._observers:
            return
        with self._lock:  # the record is made here, and another one must not come in between
            last = self._builder.last
        if last is not None:
            self._observers.notify(last)

    # The end.

    def end(
        self,
        state: State,
        *,
        result: Any = None,
        error: BaseException | Failure | str | None = None,
        next_retry_at: datetime | None = None,
        wait: bool = True,
    ) -> None:
        """
        End the job in this process, in a final state or in `retrying`; without effect once it has ended.

        Waits until the record is stored, at most `flush_seconds`, unless `wait` is False, and notifies the observers.
        """
        write = self._end(state, result, error, next_retry_at)
        if write is not None:
            self._sink.end(self, write, wait=wait)
            self.notify_observers()

    async def aend(
        self,
        state: State,
        *,
        result: Any = None,
        error: BaseException | Failure | str | None = None,
        next_retry_at: datetime | None = None,
    ) -> None:
        """Do so without blocking the running event loop."""
        write = self._end(state, result, error, next_retry_at)
        if write is None:
            return
        await self._sink.aend(self, write)
        if self._observers:
            from asyncio import to_thread

            await to_thread(self.notify_observers)

    def _end(
        self, state: State, result: Any, error: BaseException | Failure | str | None, next_retry_at: datetime | None
    ) -> Write | None:
        if self._generation != self._sink.generation:
            self.detach()
            return None
        result = self.validated("result", lambda value: validation.plain(value, validation.RESULT_BYTES), result)
        with self._lock:
            if self.has_ended:
                return None
            return self._last_record(Result(state, result, failure(error), next_retry_at))

    def _last_record(self, result: Result) -> Write:
        """Count no more, and return the record of the end."""
        self.stages.end()
        write = self._builder.record(self._sample(), result)
        self.has_ended = True
        self.stages.release()
        return write

    def end_by(self, error: BaseException | None) -> None:
        """End the job as a block that was left with this exception, or with none."""
        state, failure = self._outcome(error)
        self.end(state, error=failure)

    async def aend_by(self, error: BaseException | None) -> None:
        """Do so without blocking the running event loop."""
        state, failure = self._outcome(error)
        await self.aend(state, error=failure)

    def _outcome(self, error: BaseException | None) -> tuple[State, BaseException | None]:
        state = _state_after(error, self._sink.control_exceptions)
        return state, error if state is State.FAILED else None

    def abandon(self) -> None:
        """End the job as cancelled, without waiting."""
        self.end(State.CANCELLED, wait=False)

    def detach(self) -> None:
        """Stop reporting, without an end: the job belongs to the process that this one was forked from."""
        self.has_ended = True
        self.stages.shut_gates()
        self._lock, self._observers = RLock(), ObserverList()


_STEP_STATES = {State.SUCCEEDED: StepState.SUCCEEDED, State.FAILED: StepState.FAILED}
"""The states of steps after exceptions that end a job so; after all others a step is cancelled."""


def _state_after(error: BaseException | None, control_exceptions: Mapping[type[BaseException], State]) -> State:
    """Return the state of a job after its block was left with this exception, or with none."""
    if error is None:
        return State.SUCCEEDED
    for kind, state in control_exceptions.items():
        if isinstance(error, kind):
            return state
    if isinstance(error, Cancelled | GeneratorExit | KeyboardInterrupt):
        return State.CANCELLED
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return State.CANCELLED
    return State.FAILED


def do_nothing() -> None:
    """Let no caller go on: none waits for the end of a job."""
