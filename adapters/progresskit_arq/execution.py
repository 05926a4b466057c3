"""The jobs that one worker executes: wrapped functions of the site, and the hooks of arq."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from arq.constants import job_key_prefix
from arq.cron import CronJob
from arq.utils import to_seconds
from arq.worker import Function, Retry, RetryJob

from progresskit.errors import Cancelled
from progresskit.integrations import OWNER_HEADER, Run, owner_of
from progresskit.progress import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.integrations import Integration

AnyFunction = TypeVar("AnyFunction", Function, CronJob)


class JobCancelled(Exception):
    """The result of a job that was cancelled while it was executed; for arq it has failed."""


class Execution:
    """One execution of a job, from the call of its function until arq has stored how it ended."""

    def __init__(self, run: Run, timeout: float | None) -> None:
        self.run = run
        self.value: Any = None
        self.error: BaseException | None = None
        self.result: tuple[bool, Any] | None = None
        """The result that arq stores, if it does: whether the job succeeded, and the value or error."""
        self._until = None if timeout is None else monotonic() + timeout

    @property
    def is_tried_again(self) -> bool:
        """True where arq is about to put the job in the queue again, unless its retries are turned off."""
        return self.result is None and isinstance(self.error, Retry | RetryJob | asyncio.CancelledError)

    async def retry(self) -> None:
        """End the attempt: the job is in the queue again."""
        defer = getattr(self.error, "defer_score", None)
        at = datetime.now(UTC) + timedelta(milliseconds=defer) if defer else None
        await self.run.aend(State.RETRYING, next_retry_at=at)

    async def end(self) -> None:
        """End the job as arq has ended it."""
        state, error = self.outcome()
        result = self.value if state is State.SUCCEEDED else None
        error = error or "arq has failed the job" if state is State.FAILED else None
        await self.run.aend(state, result=result, error=error)

    def outcome(self) -> tuple[State, BaseException | str | None]:
        """Return the state in which the job has ended, and the error if it failed."""
        succeeded, error = self.result or (self.error is None, self.error)
        if succeeded:
            return State.SUCCEEDED, None
        if self.result is None and isinstance(error, asyncio.CancelledError) and self._is_late:
            error = TimeoutError()
        return state_after(error), error

    @property
    def _is_late(self) -> bool:
        return self._until is not None and monotonic() >= self._until


class Executions:
    """The executions of a worker, by the ids of the jobs."""

    def __init__(self, progress: Integration, timeout: Any, cancellable: bool) -> None:
        self._progress, self._timeout, self._cancellable = progress, to_seconds(timeout), cancellable
        self._running: dict[str, Execution] = {}

    def wrapped(self, function: AnyFunction) -> AnyFunction:
        """Return the function as one that is a job of progresskit when a worker calls it."""
        coroutine: Any = function.coroutine
        cancellable = bool(getattr(coroutine, "progress_cancellable", self._cancellable))
        timeout = self._timeout if function.timeout_s is None else function.timeout_s

        @wraps(coroutine)
        async def call(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
            id = ctx["job_id"]
            run = self._progress.start(
                id,
                kind=function.name,
                attempt=await self._progress.aattempt_of(id, ctx["job_try"]),
                cancellable=cancellable,
                owner=owner_of({OWNER_HEADER: kwargs.pop(OWNER_HEADER, None)}),
            )
            self._running[id] = execution = Execution(run, timeout)
            run.enter()
            try:
                execution.value = await coroutine(ctx, *args, **kwargs)
            except Cancelled:  # it would end the worker, and leave the job in progress
                execution.error = JobCancelled("cancelled")
                raise execution.error from None
            except (Exception, asyncio.CancelledError) as error:
                execution.error = error
                raise
            except BaseException:  # the worker ends, and arq delivers the job again
                del self._running[id]
                run.detach()
                raise
            finally:
                run.leave()
            return execution.value

        return replace(function, coroutine=call)

    # The hooks.

    async def on_job_end(self, ctx: dict[Any, Any]) -> None:
        """Report that a job is tried again, before another worker can have it."""
        execution = self._running.get(ctx["job_id"])
        if execution is not None and execution.is_tried_again:
            await execution.retry()

    async def after_job_end(self, ctx: dict[Any, Any]) -> None:
        """Report how a job has ended, which arq has stored."""
        id = ctx["job_id"]
        execution = self._running.pop(id, None)
        if execution is None:
            return
        if not execution.is_tried_again:
            await execution.end()
        elif not await ctx["redis"].exists(job_key_prefix + id):  # it ends, and has no result that is kept
            self._end_externally(id, *execution.outcome())

    def _end_externally(self, id: str, state: State, error: BaseException | str | None, **about: Any) -> None:
        error = error if state is State.FAILED else None
        self._progress.end_externally(id, state, error=error, **about)

    def noting_results(self, serialize: Callable[[dict[str, Any]], bytes]) -> Callable[[dict[str, Any]], bytes]:
        """
        Return the serializer of a worker as one that notes which results arq is about to store.

        It is also the only function of the site that arq calls for a job that ends before its function is called:
        one that is expired, aborted, unknown, or tried too often.
        """

        @wraps(serialize)
        def note_and_serialize(data: dict[str, Any]) -> bytes:
            if "r" in data:
                self._note(data)
            return serialize(data)

        return note_and_serialize

    def _note(self, data: dict[str, Any]) -> None:
        id, result = data["id"], data["r"]
        execution = self._running.get(id)
        if execution is not None:
            execution.result = (data["s"], result)
            return
        about = {"kind": None if data["f"] == "<unknown>" else data["f"], "attempt": max(data["t"] - 1, 1)}
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self._end_externally(id, state_after(result), result, **about))


def state_after(error: Any) -> State:
    """Return the state of a job that has ended with this error."""
    return State.CANCELLED if isinstance(error, JobCancelled | asyncio.CancelledError) else State.FAILED
