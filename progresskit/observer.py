"""
The handles of a job that user code has: the opener's, those of code that joined the job, and those of its steps.

They expose the public interface only. The job itself is the private object that they share, see job.py; `job_of`
returns it.
"""

from __future__ import annotations

import sys
from functools import cache
from time import time
from typing import TYPE_CHECKING, Any, Self

from . import scope, unseen
from .job import Job
from .progress import State
from .reports import Reports
from .snapshots import Identity, public_failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .job import Sink
    from .observer_list import AttachedObserver, Notify
    from .progress import Progress, Write
    from .scope import Scope
    from .stages import Stage


class ProgressObserver(Reports):
    """
    A job of this process; made by `observe()`, and ended by the code that called it.

    As a context manager it succeeds at a clean exit, fails at an exception and is cancelled at `Cancelled` and
    `asyncio.CancelledError`; the exception goes on.
    """

    __slots__ = ("_scopes",)

    def __init__(self, sink: Sink, identity: Identity, *, cancellable: bool = False) -> None:
        super().__init__()
        self._scopes: list[Scope] = []
        job = Job(sink, identity, self, cancellable=cancellable)
        self._bind(job)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def owner(self) -> str | None:
        """The key of the user who owns the job; None if it has no owner."""
        return self._job.owner

    def step(self, name: str, *, total: float | None = None, unit: str | None = None) -> StepObserver:
        """
        Return a step of the job, or of this step, to be entered by `with` or `async with`.

        It is one of those declared by `observe(steps=…)`, if there are any. Without these, it counts as the whole job
        while it is the current one; where items are counted, it refines the item in hand. It has succeeded when the
        block is left without an exception, and continues when it is entered again. A name is 1 to 80 characters.
        """
        return self._job.step(self._stage, name, total, unit, StepObserver)

    # The end.

    def succeed(self, result: Any = None) -> None:
        """End the job as succeeded; `result` is at most 64 KiB as JSON. Without effect once the job has ended."""
        self._job.end(State.SUCCEEDED, result=result)

    def fail(self, error: BaseException | str) -> None:
        """
        End the job as failed. Without effect once the job has ended.

        A text is shown to every viewer of the job; of an exception only the class name is, unless it is a
        `PublicError`. So pass the exception itself, and not `str(error)`, if its message is not for viewers.
        """
        self._job.end(State.FAILED, error=public_failure(error) if isinstance(error, str) else error)

    def __enter__(self) -> Self:
        self._scopes.append(scope.enter(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_scope()
        job = self._leave(error)
        if job is not None:
            job.end_by(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_scope()
        job = self._leave(error)
        if job is not None:
            await job.aend_by(error)

    def _leave_scope(self) -> None:
        """Leave the scope that was entered in this context, for threads may be in one step at once."""
        scopes = self._scopes
        entered = next((entered for entered in reversed(scopes) if entered.surrounds()), scopes[-1])
        scopes.remove(entered)
        entered.leave()

    def _leave(self, error: BaseException | None) -> Job | None:
        """Leave the block by an exception, or by none; return the job that ends with it."""
        return self._job

    def __del__(self) -> None:
        job = getattr(self, "_job", None)  # none in strict mode, if the job was refused for its kind
        # A finalizer runs anywhere, even while the publisher samples this very job: it only leaves a message.
        if job is not None and not job.has_ended and not sys.is_finalizing():
            self._stage.count.keep(self)
            job.call_later(job.abandon)

    # The Subject.

    @property
    def progress(self) -> Progress:
        """The job as it stands in this process."""
        return self._job.progress

    def attach(self, observer: Notify) -> Callable[[], None]:
        """
        Notify the observer of changes, newest state only, and of the end before the job's end returns.

        It is called in the publisher's thread and should be quick. Returns a function that detaches it.
        """
        unseen.note_viewer()
        return self._job.attach(observer)


def job_of(observer: ProgressObserver) -> Job:
    """Return the job that a handle belongs to."""
    return observer._job


def stage_of(observer: ProgressObserver) -> Stage:
    """Return the stage of the job in which a handle counts: the job itself, or a step."""
    return observer._stage


class NoSink:
    """The publisher of the null job: it accepts every call and stores no record."""

    clock = wall = staticmethod(time)

    def __init__(self) -> None:
        self.lease = self.ttl = 0.0
        self.strict, self.generation = False, 0
        self.control_exceptions: dict[type[BaseException], State] = {}
        self.observers: tuple[AttachedObserver, ...] = ()

    def wake(self) -> None:
        """Return: there is no thread."""

    def call_later(self, act: Callable[[], None]) -> None:
        """Return: there is no thread."""

    def end(self, job: Job, write: Write, *, wait: bool) -> None:
        """Discard the record of the end."""

    async def aend(self, job: Job, write: Write) -> None:
        """Discard the record of the end."""


@cache
def null_job() -> ProgressObserver:
    """Return the job of code that has none: it takes reports and ignores them."""
    observer = ProgressObserver(NoSink(), Identity("silent", token=""))
    job_of(observer).detach()
    return observer


class Guest(ProgressObserver):
    """A handle of a job that other code has opened: it does not end the job."""

    __slots__ = ()

    def succeed(self, result: Any = None) -> None:
        """Return without effect: the code that opened the job ends it."""

    def fail(self, error: BaseException | str) -> None:
        """Return without effect: the code that opened the job ends it."""

    def _leave(self, error: BaseException | None) -> Job | None:
        return None

    def __del__(self) -> None:
        """Leave the job running: the finalizer of the opener's handle ends it."""


class JoinedObserver(Guest):
    """
    A handle of a job, or of a step, that other code has opened: it reports to it.

    Reports are methods of the opener's handle, bound once, so that a joiner's report costs as much as the opener's.
    """

    def __init__(self, opener: ProgressObserver) -> None:
        # Deliberately not super().__init__(), which opens a job.
        self._scopes = []
        self._opener = opener
        self._bind(opener._job, opener._step)
        self.advance = opener.advance  # type: ignore[method-assign]
        self.set_progress = opener.set_progress  # type: ignore[method-assign]
        self.update = opener.update  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        self._scopes.append(scope.enter(self._opener))
        return self


class StepObserver(Guest):
    """
    A step of a job, made by `step()`; what is reported inside of its `with` block counts for the step.

    Count, total and unit are those of the step, description and meta those of the job. The step ends with the block:
    as succeeded, or by the exception that goes on as failed or cancelled. The job is ended by the code that opened it.
    """

    __slots__ = ()

    def __init__(self) -> None:
        Reports.__init__(self)
        self._scopes = []

    @property
    def name(self) -> str:
        """The name of the step."""
        return self._stage.name

    def __enter__(self) -> Self:
        self._job.enter(self._stage)
        self._scopes.append(scope.enter(self))
        return self

    def _leave(self, error: BaseException | None) -> Job | None:
        self._job.leave(self._stage, error)
        return None


class IgnoredObserver(JoinedObserver):
    """Accepts reports and ignores them, as the null job does, and calls `warn` at each."""

    def __init__(self, warn: Callable[[], None]) -> None:
        super().__init__(null_job())
        for name in ("advance", "set_progress", "step", "update"):
            setattr(self, name, _after(warn, getattr(self, name)))


def _after(warn: Callable[[], None], report: Callable[..., Any]) -> Callable[..., Any]:
    def warned(*values: Any, **named: Any) -> Any:
        warn()
        return report(*values, **named)

    return warned
