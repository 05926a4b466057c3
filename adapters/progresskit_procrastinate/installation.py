"""How the jobs of a Procrastinate app become jobs of a kit: while they wait, are executed, and when they have ended."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from logging import getLogger
from typing import TYPE_CHECKING, Any

from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Status

from progresskit.errors import BackendError, Cancelled
from progresskit.integrations import OWNER_HEADER, Integration, owner_of
from progresskit.progress import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime

    from procrastinate.job_context import JobContext
    from procrastinate.jobs import Job
    from procrastinate.worker import Worker

    from progresskit.integrations import Run
    from progresskit.kit import Kit

REMOVE_SECONDS = 10
"""How long the event loop of the app may take to remove a job from the queue."""

ENDS = {
    Status.SUCCEEDED: State.SUCCEEDED,
    Status.FAILED: State.FAILED,
    Status.CANCELLED: State.CANCELLED,
    Status.ABORTED: State.CANCELLED,
}
"""The states of jobs that have ended, by their status in Procrastinate."""


@dataclass(slots=True)
class Execution:
    """A job that a worker executes, known to the asyncio task that does so until Procrastinate has stored the end."""

    run: Run
    context: JobContext
    result: Any = None
    error: BaseException | None = None

    @property
    def was_aborted(self) -> bool:
        """Return whether `cancel_job_by_id(…, abort=True)` was called for the job."""
        return self.context.abort_reason() is AbortReason.USER_REQUEST

    async def end(self, status: Status) -> None:
        """End the job as Procrastinate has ended it."""
        state = ENDS[status]
        result = self.result if state is State.SUCCEEDED else None
        error = self.error or "unknown" if state is State.FAILED else None
        await self.run.aend(state, result=result, error=error)


_executing: ContextVar[Execution | None] = ContextVar("progresskit_procrastinate_execution", default=None)


def execution_of(id: int) -> Execution | None:
    """Return the execution of a job by this asyncio task; None where another one has it."""
    execution = _executing.get()
    return execution if execution is not None and execution.context.job.id == id else None


class Installation(Integration):
    """Reports the jobs of one app."""

    loop: asyncio.AbstractEventLoop | None = None
    """The event loop in which the app was opened, and which alone may use its connections."""

    def __init__(self, manager: Any, kit: Kit | None, cancellable: bool, capture: bool) -> None:
        super().__init__(
            kit,
            capture=capture,
            control_exceptions={JobAborted: State.CANCELLED},
            remove=self._remove,
            terminate=lambda ids: self._remove(ids, abort=True),
        )
        self._manager, self._cancellable = manager, cancellable

    # In the process that sends.

    def deferred(self, jobs: Iterable[Job]) -> None:
        """Report that jobs wait."""
        for job in jobs:
            if job.id is not None:
                self.enqueued(job.id, kind=job.task_name, owner=owner_of(job.task_kwargs))

    # In a worker.

    async def execute(self, call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker) -> Any:
        """Execute a job, as the outermost middleware of a worker."""
        job = context.job
        carried = {name: job.task_kwargs.pop(name) for name in (OWNER_HEADER,) if name in job.task_kwargs}
        execution = Execution(await self._begin(context, owner_of(carried)), context)
        _executing.set(execution)
        execution.run.enter()
        try:
            execution.result = await call_next()
        except Cancelled:
            raise JobAborted("cancelled") from None  # for which Procrastinate neither fails it nor tries again
        except asyncio.CancelledError:
            if execution.was_aborted:
                raise JobAborted("aborted") from None
            raise
        except BaseException as error:
            execution.error = error
            raise
        finally:
            execution.run.leave()
            job.task_kwargs.update(carried)
        return execution.result

    async def _begin(self, context: JobContext, owner: str | None) -> Run:
        job, function = context.job, context.task.func
        assert job.id is not None
        attempt = await self.aattempt_of(str(job.id), job.attempts + 1)
        cancellable = getattr(function, "progress_cancellable", self._cancellable)
        return self.start(job.id, kind=job.task_name, attempt=attempt, cancellable=cancellable, owner=owner)

    async def retried(self, execution: Execution, at: datetime) -> None:
        """Report that the job is about to be in the queue again."""
        await execution.run.aend(State.RETRYING, next_retry_at=at)

    async def ended(self, id: int, status: Status) -> None:
        """Report the end of a job, once Procrastinate has stored it."""
        execution = execution_of(id)
        if execution is not None:
            await execution.end(status)
        else:
            error = "it has no worker" if status is Status.FAILED else None
            self.end_externally(id, ENDS[status], error=error)

    # Where jobs are cancelled.

    def cancelled(self, id: int, abort: bool) -> None:
        """Report that Procrastinate has cancelled a waiting job; with `abort`, also have a running one stop."""
        if not abort:
            self.end_externally(id, State.CANCELLED)
            return
        try:
            self.kit.cancel(id)
        except BackendError:
            getLogger("progresskit").warning("Job %s is not asked to stop at its next report", id, exc_info=True)

    def _remove(self, ids: list[str], abort: bool = False) -> None:
        for id in ids:
            if id.isdecimal():  # the kit may have other jobs as well
                self._cancel(int(id), abort)

    def _cancel(self, id: int, abort: bool) -> None:
        if self.loop is not None and self.loop.is_running():
            cancelling = self._manager.cancel_unreported_async(id, abort)
            asyncio.run_coroutine_threadsafe(cancelling, self.loop).result(REMOVE_SECONDS)
        else:
            self._manager.cancel_unreported(id, abort)
