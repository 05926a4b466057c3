"""The job in this process: its life, those who are told of it, and how it goes to the publisher."""

from __future__ import annotations

import sys
from functools import cache
from threading import RLock
from time import time
from typing import TYPE_CHECKING, Any, Protocol, Self

from . import scope, unseen, validation
from .audience import Audience
from .errors import Cancelled
from .progress import State
from .recorder import Clocks, Identity, Outcome, Recorder, failure, public_failure
from .reports import Reports, Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from types import TracebackType

    from .audience import Notify
    from .progress import Failure, Progress, Write
    from .scope import Scope


class Sink(Clocks, Waker, Protocol):
    """Where jobs are published; see publisher.py."""

    verdicts: dict[type[BaseException], State]

    @property
    def generation(self) -> int:
        """How many forks there were: a job of another generation is the parent's."""

    def call_later(self, act: Callable[[], None]) -> None:
        """Call `act` in the publisher's thread; safe in a finalizer."""

    def end(self, job: ProgressObserver, write: Write) -> Callable[[], None]:
        """Publish the last record; return a function that waits until it is stored, or until waiting is no use."""


class ProgressObserver(Reports):
    """
    A job of this process; made by `observe()`, ended by whoever made it.

    As a context manager it succeeds at a clean exit, fails at an exception and is cancelled at `Cancelled` and
    `asyncio.CancelledError`; the exception goes on.
    """

    __slots__ = ("__weakref__", "_audience", "_generation", "_recorder", "_scopes", "_sink")

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
        owner: str | None = None,
    ) -> None:
        super().__init__(sink, id, cancellable)
        self._ended = True  # until it is made: one that is refused for its kind, as strict kits do, has no end
        self._sink, self._generation = sink, sink.generation
        kept = self._kept("kind", validation.text, kind)
        self._recorder = Recorder(sink, Identity(id, token, kept, parent, attempt, owner))
        self._audience = Audience()
        self._scopes: list[Scope] = []
        self._ended = False

    def succeed(self, result: Any = None) -> None:
        """End the job well; `result` is at most 64 KiB as JSON. Without effect once the job has ended."""
        self.end(State.SUCCEEDED, result=result)

    def fail(self, error: BaseException | str) -> None:
        """
        End the job badly.

        A text is shown to everybody who may watch the job; of an exception only the class name is, unless it is a
        `PublicError`. So pass the exception itself where its message is not for them, and not `str(error)`.
        """
        self.end(State.FAILED, error=public_failure(error) if isinstance(error, str) else error)

    def end(
        self,
        state: State,
        *,
        result: Any = None,
        error: BaseException | Failure | str | None = None,
        next_retry_at: datetime | None = None,
        wait: bool = True,
    ) -> Callable[[], None]:
        """
        End the job in this process, in a final state or in `retrying`; without effect once it has ended.

        Returns what finishes the end: it waits until the record is stored, at most `flush_seconds`, and tells the
        attached observers. It has been called already unless `wait` is False.
        """
        if self._generation != self._sink.generation:
            self.detach()
            return _nothing
        kept = self._kept("result", lambda value: validation.plain(value, validation.RESULT_BYTES), result)
        with self._lock:
            if self._ended:
                return _nothing
            self._fold_counter()
            write = self._recorder.record(self.read(), Outcome(state, kept, failure(error), next_retry_at))
            self._ended = True
            self._shut_gate()
        stored = self._sink.end(self, write)

        def finish() -> None:
            stored()
            self.notify_observers()

        if wait:
            finish()
        return finish

    def end_by(self, error: BaseException | None, wait: bool = True) -> Callable[[], None]:
        """End the job as a block that was left with this exception, or with none."""
        if error is None:
            return self.end(State.SUCCEEDED, wait=wait)
        state = _verdict(error, self._sink.verdicts)
        return self.end(state, error=error if state is State.FAILED else None, wait=wait)

    def __enter__(self) -> Self:
        self._scopes.append(scope.enter(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scopes.pop().leave()
        self.end_by(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from asyncio import to_thread

        self._scopes.pop().leave()
        await to_thread(self.end_by(error, wait=False))

    def __del__(self) -> None:
        # A finalizer runs anywhere, even while the publisher samples this very job: it only leaves a message.
        if not getattr(self, "_ended", True) and not sys.is_finalizing():
            self.call_later(self.abandon)

    def call_later(self, act: Callable[[], None]) -> None:
        """Call `act` in the publisher's thread, between two rounds."""
        self._sink.call_later(act)

    def abandon(self) -> None:
        """End the job as cancelled, without waiting for anything."""
        self.end(State.CANCELLED, wait=False)
        self.notify_observers()

    @property
    def owner(self) -> str | None:
        """The key of the user whose job it is; None where nobody said."""
        return self._recorder.identity.owner

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    # The Subject.

    @property
    def progress(self) -> Progress:
        """The job as it stands in this process."""
        with self._lock:
            last, reading = self._recorder.last, self.read()
            if last is not None and (self._ended or reading == self._recorder.seen):
                return last
            return self._recorder.snapshot(reading)

    def attach(self, observer: Notify) -> Callable[[], None]:
        """
        Tell the observer of changes, newest state only, and of the end before the job's end returns.

        It is called in the publisher's thread and should be quick. Call what is returned to detach it.
        """
        unseen.note_viewer()
        return self._audience.attach(observer)

    def notify_observers(self) -> None:
        """Give the attached observers the last record, unless they have it."""
        if self._recorder.last is not None:
            self._audience.tell(self._recorder.last)

    # What the publisher does.

    @property
    def token(self) -> str:
        """What tells this start of the job from every other one."""
        return self._recorder.identity.token

    @property
    def began(self) -> float:
        """When the job began in this process, by the kit's monotonic clock."""
        return self._recorder.began

    @property
    def run(self) -> int:
        """The number of the run that this start has; 0 while that is not known."""
        return self._recorder.run

    def sample(self) -> Write | None:
        """
        Return a record to be written if the job has changed since the last one, or has none yet.

        Where it has not, the next report wakes the publisher.
        """
        with self._lock:
            if self._ended:
                return None
            reading = self.read()
            if reading != self._recorder.seen:
                return self._recorder.record(reading)
            self.ask_to_wake()
            return None

    def resend(self) -> Write | None:
        """Return the last record, to be written once more; None once the job has ended here."""
        with self._lock:
            last = self._recorder.write
            return None if self._ended or last is None else self._recorder.again(last)

    def mark_stored(self, run: int | None) -> None:
        """Note that a record is stored, and in which run."""
        with self._lock:
            self._recorder.mark_stored(run)

    def detach(self) -> None:
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


class _NoSink:
    """Where the silent job reports to."""

    clock = wall = staticmethod(time)

    def __init__(self) -> None:
        self.lease = self.ttl = 0.0
        self.strict, self.generation = False, 0
        self.verdicts: dict[type[BaseException], State] = {}

    def wake(self) -> None:
        """Nothing: nobody sleeps."""

    def call_later(self, act: Callable[[], None]) -> None:
        """Nothing: there is no thread."""

    def end(self, job: ProgressObserver, write: Write) -> Callable[[], None]:
        """Nothing: the job is not stored."""
        return _nothing


@cache
def silent() -> ProgressObserver:
    """Return the job of code that has none: it takes reports and does nothing with them."""
    job = ProgressObserver(_NoSink(), "silent", token="")
    job.detach()
    return job


class JoinedObserver(ProgressObserver):
    """
    A job as seen from code that joined it: reports go to the job, ends do not.

    The hot methods are the job's own, bound once, so that joining costs nothing per call.
    """

    def __init__(self, job: ProgressObserver) -> None:
        # Deliberately not super().__init__(): the state is the job's, and there is nothing for __del__ to end.
        self._ended = True
        self._scopes = []
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
        self._scopes.append(scope.enter(self._job))
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_job"), name)


class IgnoredObserver(JoinedObserver):
    """Accepts reports and ignores them, as the silent job does, and calls `warn` at each."""

    def __init__(self, warn: Callable[[], None]) -> None:
        super().__init__(silent())
        for name in ("advance", "set_progress", "update"):
            setattr(self, name, _after(warn, getattr(self, name)))


def _after(warn: Callable[[], None], report: Callable[..., None]) -> Callable[..., None]:
    def warned(*values: Any, **named: Any) -> None:
        warn()
        report(*values, **named)

    return warned
