"""
The job in this process: what a worker calls, once per item or a million times a second.

`advance` and `set_progress` are one store behind one comparison. `_gate` is the largest count that may be stored just
so, and `_step` is 1; the gate is shut (-1 and None) whenever a call has to do something else first, such as to stop the
job, or to wake the publisher after a quiet time. Everything that takes longer is done by the publisher, which samples
what was stored.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol, Self

from . import values
from .audience import Audience
from .errors import Cancelled, InvalidValue
from .progress import State
from .recorder import Clocks, Outcome, Reading, Recorder, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from datetime import datetime
    from types import TracebackType

    from .audience import Notify
    from .progress import Progress, Write

surrounding: ContextVar[ProgressObserver | None] = ContextVar("progresskit_surrounding", default=None)
"""The job that code without an observer of its own reports to."""

_OPEN = values.LIMIT // 2  # counts beyond are checked one by one, so that the hot path need not look at the sum
_SHUT = -1


class Counter(Protocol):
    """Counts for `track()`, outside of Python."""

    def done(self) -> int:
        """Return how many items are done: the one in hand is not."""

    def finish(self) -> None:
        """Count the last item as done too: the loop has asked for another one."""

    def stop(self) -> None:
        """Raise Cancelled in the loop instead of giving it another item."""


class Sink(Clocks, Protocol):
    """Where jobs are published; see publisher.py."""

    strict: bool
    verdicts: dict[type[BaseException], State]
    generation: int
    """How many forks there were: a job of another generation is the parent's."""

    def wake(self) -> None:
        """Look at the jobs soon: one of them has news after a quiet time."""

    def ended(self, job: ProgressObserver, write: Write) -> Callable[[], None]:
        """Publish the last record; call what is returned to wait until it is stored, or waiting is no use."""


class ProgressObserver:
    """
    A job of this process; made by `observe()`, ended by whoever made it.

    As a context manager it succeeds at a clean exit, fails at an exception and is cancelled at `Cancelled` and
    `asyncio.CancelledError`; the exception goes on. Reporting does no I/O, never blocks, and never raises because of a
    bad value or a backend: a bad value is dropped and counted in `dropped`, unless the kit is strict.
    """

    __slots__ = (
        "__weakref__",
        "_audience",
        "_counter",
        "_current",
        "_description",
        "_ended",
        "_gate",
        "_generation",
        "_lock",
        "_meta",
        "_quiet",
        "_recorder",
        "_sink",
        "_step",
        "_tokens",
        "_total",
        "_total_given",
        "_unit",
        "cancel_requested",
        "cancellable",
        "dropped",
        "id",
    )

    _current: float
    _description: str | None
    _step: int | None

    def advance(self, n: float = 1) -> None:
        """Count `n` more items as done."""
        if n is self._step:
            self._current += 1
        elif n.__class__ is int and n >= 0 and self._current + n <= self._gate:
            self._current += n
        else:
            self._advance(n)

    def set_progress(self, current: float, total: float | None = None, description: str | None = None) -> None:
        """Say how many items are done, of how many, and what is going on; None leaves a value as it is."""
        if (
            current.__class__ is int
            and 0 <= current <= self._gate
            and (total is self._total or total is None)
            and (description is None or description.__class__ is str)
        ):
            self._current = current
            if description is not None:
                self._description = description  # cut and cleaned when it is sampled, not at each call
        else:
            self._set(current, total, description)

    def __init__(
        self,
        sink: Sink,
        id: str,
        *,
        token: str,
        kind: str | None = None,
        parent: str | None = None,
        attempt: int = 1,
        cancellable: bool = False,
    ) -> None:
        self.id, self.cancellable = id, cancellable
        self.cancel_requested = False
        self.dropped = 0
        """How many bad values were dropped."""
        self._current = 0
        self._gate, self._step = _OPEN, 1
        self._total: Any = None
        self._total_given = False
        self._description = None
        self._unit: str | None = None
        self._meta: dict[str, Any] = {}
        self._counter: Counter | None = None
        self._quiet = self._ended = False
        self._sink, self._generation = sink, sink.generation
        self._lock = RLock()  # a finalizer may run while its own thread is in here
        self._recorder = Recorder(sink, id, token=token, kind=kind, parent=parent, attempt=attempt)
        self._audience = Audience()
        self._tokens: list[Token[ProgressObserver | None]] = []

    # What the hot path leaves over.

    def _advance(self, n: Any) -> None:
        if not self._admit():
            return
        try:
            self._current = values.count(self._current + values.count(n))
        except ValueError as problem:
            self._drop("n", problem)
        self._open_gate()

    def _set(self, current: Any, total: Any, description: Any) -> None:
        if not self._admit():
            return
        if total is not None:
            self._set_total(total)
        if current is not None:
            self._set_current(current)
        if description.__class__ is str:
            self._description = description
        elif description is not None:
            self._put("description", values.text, description)

    def _set_total(self, total: Any) -> None:
        self._total = self._checked_total(total)
        self._total_given = True

    def _checked_total(self, total: Any) -> Any:
        """Return the total as it came, so that set_progress knows it by identity; the one there was if it is bad."""
        try:
            values.count(total)
        except ValueError as problem:
            self._drop("total", problem)
            return self._total
        return total

    def _set_current(self, current: Any) -> None:
        try:
            number = values.count(current)
        except ValueError as problem:
            self._drop("current", problem)
        else:
            if self._counter is not None:
                self.stop_counting(self._counter)
            self._current = number
            self._open_gate()

    def _put(self, name: str, convert: Callable[[Any], Any], value: Any) -> None:
        try:
            setattr(self, f"_{name}", convert(value))
        except ValueError as problem:
            self._drop(name, problem)

    def _drop(self, name: str, problem: ValueError) -> None:
        if self._sink.strict:
            raise InvalidValue(f"{name} {problem}") from None
        self.dropped += 1
        if self.dropped == 1:
            from logging import getLogger

            getLogger("progresskit").warning(
                "Job %s: a bad value was dropped, as later ones will be without a word: %s %s", self.id, name, problem
            )

    def _admit(self) -> bool:
        """Do what the gate was shut for; return whether the job still takes reports."""
        if self._ended:
            return False
        if self.cancel_requested and self.cancellable:
            raise Cancelled(self.id)
        if self._quiet:
            self._quiet = False
            self._open_gate()
            self._sink.wake()
        return True

    def _open_gate(self) -> None:
        # While track() counts, each call is looked at, so that both do not count the same items.
        shut = (
            self._ended
            or self._quiet
            or self._counter is not None
            or self._current > _OPEN
            or (self.cancel_requested and self.cancellable)
        )
        if shut:
            self._shut_gate()
        else:
            self._gate, self._step = _OPEN, 1

    def _shut_gate(self) -> None:
        self._gate, self._step = _SHUT, None

    # What else a worker calls.

    def update(
        self,
        *,
        current: float | None = None,
        total: float | None = None,
        description: str | None = None,
        unit: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Set what is given; `meta` (at most 8 KiB as JSON) replaces the one before."""
        self._set(current, total, description)
        if self._ended:
            return
        if unit is not None:
            self._put("unit", values.text, unit)
        if meta is not None:
            self._put("meta", values.meta, meta)

    def check_cancelled(self) -> None:
        """Raise Cancelled if somebody asked the job to stop."""
        if self.cancel_requested:
            raise Cancelled(self.id)

    def succeed(self, result: Any = None) -> None:
        """End the job well; `result` is at most 64 KiB as JSON. Without effect once the job has ended."""
        self.end(State.SUCCEEDED, result=result)

    def fail(self, error: BaseException | str) -> None:
        """End the job badly. Only the message of a `PublicError` is shown to a browser."""
        self.end(State.FAILED, error=error)

    def end(
        self,
        state: State,
        *,
        result: Any = None,
        error: BaseException | str | None = None,
        next_retry_at: datetime | None = None,
        wait: bool = True,
    ) -> Callable[[], None]:
        """
        End the job in this process, in a final state or in `retrying`; without effect once it has ended.

        Returns what finishes the end: it waits until the record is stored, at most `flush_seconds`, and tells the
        attached observers. It has been called already unless `wait` is False.
        """
        if self._generation != self._sink.generation:
            self.forsake()
            return _nothing
        kept = None if result is None else self._kept_result(result)
        with self._lock:
            if self._ended:
                return _nothing
            self._fold_counter()
            write = self._recorder.record(self._read(), Outcome(state, kept, failure(error), next_retry_at))
            self._ended = True
            self._shut_gate()
        stored = self._sink.ended(self, write)

        def finish() -> None:
            stored()
            self.tell()

        if wait:
            finish()
        return finish

    def _kept_result(self, result: Any) -> Any:
        try:
            return values.plain(result, values.RESULT_BYTES)
        except ValueError as problem:
            self._drop("result", problem)
            return None

    def end_by(self, error: BaseException | None, wait: bool = True) -> Callable[[], None]:
        """End the job as a block that was left with this exception, or with none."""
        if error is None:
            return self.end(State.SUCCEEDED, wait=wait)
        state = _verdict(error, self._sink.verdicts)
        return self.end(state, error=error if state is State.FAILED else None, wait=wait)

    def __enter__(self) -> Self:
        self._tokens.append(surrounding.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        self.end_by(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from asyncio import to_thread

        self._leave()
        await to_thread(self.end_by(error, wait=False))

    def _leave(self) -> None:
        token = self._tokens.pop()
        try:
            surrounding.reset(token)
        except ValueError:
            surrounding.set(None)  # left in another context than it was entered in

    def __del__(self) -> None:
        if not getattr(self, "_ended", True) and not sys.is_finalizing():
            self.end(State.CANCELLED, wait=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    # The Subject.

    @property
    def progress(self) -> Progress:
        """The job as it stands in this process."""
        with self._lock:
            last, reading = self._recorder.last, self._read()
            if last is not None and (self._ended or reading == self._recorder.seen):
                return last
            return self._recorder.snapshot(reading)

    def attach(self, observer: Notify) -> Callable[[], None]:
        """
        Tell the observer of changes, newest state only, and of the end before the job's end returns.

        It is called in the publisher's thread and should be quick. Call what is returned to detach it.
        """
        return self._audience.attach(observer)

    def tell(self) -> None:
        """Tell the attached observers of the last record, if they do not know it."""
        if self._recorder.last is not None:
            self._audience.tell(self._recorder.last)

    # What track() does to a job.

    def count_with(self, counter: Counter, total: float | None) -> bool:
        """
        Add what the counter counts to the job; return False if another one is counting already.

        Where nobody gave the job a total, the loop makes it its own: the count begins at 0 and the total is this one.
        """
        with self._lock:
            if self._counter is not None or self._ended:
                return False
            if not self._total_given:
                self._current = 0
                self._total = None if total is None else self._checked_total(total)
            self._counter = counter
            self._shut_gate()
        if self.cancel_requested and self.cancellable:
            counter.stop()
        return True

    def stop_counting(self, counter: Counter) -> None:
        """Keep what the counter has counted, and count by calls again."""
        with self._lock:
            if self._counter is counter:
                self._fold_counter()
        self._open_gate()

    def _fold_counter(self) -> None:
        if self._counter is not None:
            self._current = self._count()
            self._counter = None

    def _count(self) -> float:
        return self._current if self._counter is None else min(self._current + self._counter.done(), values.LIMIT)

    def _read(self) -> Reading:
        return Reading(self._count(), self._total, self._description, self._unit, self._meta, self.cancel_requested)

    # What the publisher does.

    @property
    def token(self) -> str:
        """What tells this start of the job from every other one."""
        return self._recorder.token

    def sample(self) -> Write | None:
        """
        Return a record to be written if the job has changed since the last one, or has none yet.

        Where it has not, the next report wakes the publisher.
        """
        with self._lock:
            if self._ended:
                return None
            reading = self._read()
            if reading != self._recorder.seen:
                return self._recorder.record(reading)
            self._quiet = True
            self._shut_gate()
            return None

    def again(self) -> Write | None:
        """Return the last record, to be written once more; None once the job has ended here."""
        with self._lock:
            last = self._recorder.write
            return None if self._ended or last is None else self._recorder.again(last)

    def stored(self, run: int | None) -> None:
        """Learn that a record is stored, and in which run."""
        with self._lock:
            self._recorder.stored(run)

    def request_cancel(self) -> None:
        """Let the job know that it is asked to stop."""
        self.cancel_requested = True
        if self.cancellable:
            self._shut_gate()
            counter = self._counter
            if counter is not None:
                counter.stop()

    def forsake(self) -> None:
        """Report nothing more and end nothing: the job belongs to the process that this one was forked from."""
        self._ended = True
        self._shut_gate()
        self._lock, self._audience = RLock(), Audience()


def _verdict(error: BaseException, verdicts: Mapping[type[BaseException], State]) -> State:
    """Return the state of a job whose block was left with this exception; `verdicts` are those of a queue."""
    for kind, state in verdicts.items():
        if isinstance(error, kind):
            return state
    if isinstance(error, Cancelled | GeneratorExit | KeyboardInterrupt):
        return State.CANCELLED
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return State.CANCELLED
    return State.FAILED


def _nothing() -> None:
    """Finish an end that was none."""


class JoinedObserver(ProgressObserver):
    """
    A job as seen from code that joined it: reports go to the job, ends do not.

    The hot methods are the job's own, bound once, so that joining costs nothing per call.
    """

    def __init__(self, job: ProgressObserver) -> None:
        # Deliberately not super().__init__(): the state is the job's, and there is nothing for __del__ to end.
        self._ended = True
        self._tokens = []
        self._job = job
        self.advance = job.advance  # type: ignore[method-assign]
        self.set_progress = job.set_progress  # type: ignore[method-assign]
        self.update = job.update  # type: ignore[method-assign]
        self.check_cancelled = job.check_cancelled  # type: ignore[method-assign]
        self.attach = job.attach  # type: ignore[method-assign]
        self.count_with = job.count_with  # type: ignore[method-assign]
        self.stop_counting = job.stop_counting  # type: ignore[method-assign]

    @property
    def progress(self) -> Progress:
        """The job as it stands in this process."""
        return self._job.progress

    def end(self, state: State, **outcome: Any) -> Callable[[], None]:
        """Leave the job as it is: whoever opened it ends it."""
        return _nothing

    def __enter__(self) -> Self:
        self._tokens.append(surrounding.set(self._job))
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_job"), name)
