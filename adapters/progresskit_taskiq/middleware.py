"""The hooks of Taskiq: where tasks are sent, before and after their functions, and once results are stored."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from taskiq import InMemoryBroker, TaskiqMiddleware
from taskiq.exceptions import NoResultError
from taskiq.middlewares import SmartRetryMiddleware

from progresskit.errors import Cancelled
from progresskit.integrations import Integration, inherit_owner, keep_in_queue, owner_of
from progresskit.progress import State

if TYPE_CHECKING:
    from contextvars import Token

    from taskiq import TaskiqMessage, TaskiqResult

    from progresskit.integrations import Run
    from progresskit.kit import Kit


class Execution:
    """One execution of a task, from its start until the result is stored or the task is sent again."""

    def __init__(self, message: TaskiqMessage, run: Run) -> None:
        self.id, self.attempt, self.run = message.task_id, attempt_of(message), run
        self.outer: Token[Execution | None] = _executing.set(self)
        self.result: TaskiqResult[Any] | None = None
        self.error: BaseException | None = None
        self.is_over = False
        """The job has ended, or belongs to the message that was sent again."""
        self.is_lost = False
        """The message could not be sent again so far, although the job was handed on to the message."""

    async def retry(self, seconds: float) -> None:
        """End the attempt: the task is sent again."""
        self.is_over = True
        at = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
        await self.run.aend(State.RETRYING, next_retry_at=at)

    async def end(self) -> None:
        """End the job by the result; without effect once the execution is over."""
        if self.is_over:
            return
        self.is_over = True
        if self.error is None and self.result is not None:
            await self.run.aend(State.SUCCEEDED, result=self.result.return_value)
        else:
            await self.run.aend_by(self.error or asyncio.CancelledError())

    def abandon(self) -> None:
        """End the job without its result, which could not be stored; without effect once the execution is over."""
        if self.is_over:
            return
        self.is_over = True
        if self.error is None and self.result is not None:
            self.run.succeed(self.result.return_value)
        else:
            self.run.end_by(self.error or asyncio.CancelledError())


_executing: ContextVar[Execution | None] = ContextVar("progresskit_taskiq_execution", default=None)


def execution_of(message: TaskiqMessage) -> Execution | None:
    """Return the execution of a message in this context."""
    execution = _executing.get()
    return execution if execution is not None and execution.id == message.task_id else None


def attempt_of(message: TaskiqMessage) -> int:
    """Return the number of the attempt: the middleware for retries and `Context.requeue` count in labels."""
    return 1 + int(message.labels.get("_retries", 0)) + int(message.labels.get("X-Taskiq-requeue", 0))


class ProgressMiddleware(TaskiqMiddleware):
    """
    Makes every task of a broker a job under its own id, with the task's name as its `kind`.

        broker.with_middlewares(ProgressMiddleware())

    `kit` is progresskit's default one unless it is given. With `cancellable=False`, or the label
    `progress_cancellable=False` of a task, reporting never raises Cancelled. With `capture`, bars that tasks draw with
    tqdm or rich count, as in a block of `progresskit.capture()`. The position among other middleware does not matter.

    A worker does not start with a kit that cannot work: it raises ConfigurationError.
    """

    def __init__(self, *, kit: Kit | None = None, cancellable: bool = True, capture: bool = False) -> None:
        super().__init__()
        self._integration = Integration(kit, capture=capture, remove=keep_in_queue)
        self._cancellable = cancellable
        self._errors = _Errors()

    def startup(self) -> None:
        """Check the configuration where tasks are executed."""
        if self.broker.is_worker_process:
            self._integration.check("a Taskiq worker")

    async def shutdown(self) -> None:
        """Store all reports."""
        await self._integration.in_thread(Integration.flush, self._integration)

    # In the process that sends, and in a worker that sends a task again.

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """Hand a retried job on to its message, before another worker can receive the message."""
        inherit_owner(message.labels)
        execution = execution_of(message)
        if execution is not None and not execution.is_over:
            execution.is_lost = True
            await execution.retry(float(message.labels.get("delay") or 0))
        return message

    def post_send(self, message: TaskiqMessage) -> None:
        """Report that a new task waits."""
        execution = execution_of(message)
        if execution is not None:
            execution.is_lost = False
        elif attempt_of(message) == 1:
            self._integration.enqueued(message.task_id, kind=message.task_name, owner=owner_of(message.labels))

    # In a worker.

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Start the job: the surrounding job of all calls of Taskiq from here on."""
        if self._errors not in self.broker.middlewares:
            self.broker.middlewares.append(self._errors)
        is_inline = isinstance(self.broker, InMemoryBroker) and self.broker.await_inplace
        run = self._integration.start(
            message.task_id,
            kind=message.task_name,
            attempt=attempt_of(message),
            cancellable=str(message.labels.get("progress_cancellable", self._cancellable)).lower() != "false",
            owner=owner_of(message.labels),
            inline=is_inline,
        )
        execution = Execution(message, run.enter())
        task = asyncio.current_task()
        if task is not None and not is_inline:
            task.add_done_callback(lambda _: self._left(execution, message))
        return message

    async def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """End an execution without a stored result: the task is tried again, or has no result."""
        execution = execution_of(message)
        if execution is None:
            return
        execution.result = result
        execution.run.leave()
        seconds = self._seconds_until_sent(execution, message)
        if seconds is not None:
            await execution.retry(seconds)
        if isinstance(result.error, NoResultError):
            if isinstance(execution.error, NoResultError):
                execution.error = None  # a task raises NoResultError for a success without a result
            await execution.end()
            _executing.reset(execution.outer)

    async def post_save(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        """End the job."""
        execution = execution_of(message)
        if execution is not None:
            await execution.end()
            _executing.reset(execution.outer)

    def _seconds_until_sent(self, execution: Execution, message: TaskiqMessage) -> float | None:
        """Return when a task that was not sent through the hooks is tried again; None for other tasks."""
        if execution.is_over or execution.error is None or attempt_of(message) == execution.attempt:
            return None
        for middleware in self.broker.middlewares:
            if isinstance(middleware, SmartRetryMiddleware) and middleware.schedule_source is not None:
                return float(middleware.make_delay(message, int(message.labels.get("_retries", 1))))
        return 0.0 if isinstance(execution.error, NoResultError) else None  # by `Context.requeue`

    def _left(self, execution: Execution, message: TaskiqMessage) -> None:
        """End a job, though the result could not be stored, or the message could not be sent again."""
        if execution.is_lost:
            self._integration.end_externally(
                execution.id,
                State.FAILED,
                kind=message.task_name,
                error=execution.error,
                attempt=execution.attempt,
            )
        execution.abandon()


class _Errors(TaskiqMiddleware):
    """The last middleware; Taskiq calls its `on_error` first: a cancelled task is not tried again."""

    def on_error(self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException) -> None:
        execution = execution_of(message)
        if execution is not None:
            execution.error = exception
        if isinstance(exception, Cancelled):
            message.labels["retry_on_error"] = False
