"""One execution of a task, and its job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from celery import VERSION
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded
from celery.utils.time import maybe_make_aware

from progresskit.errors import Cancelled
from progresskit.integrations import owner_of, part_of
from progresskit.progress import State

from .canvas import after

if TYPE_CHECKING:
    from .installation import Installation

SIGNALS_TIME_LIMITS = (5, 7)
"""The release since which the pools gevent and eventlet send the signal of a failure for a hard time limit."""

ATTRIBUTE = "_progresskit_run"
"""Where a task's request keeps its run; so nested and concurrent executions of one task cannot take each other's."""


class Run:
    """
    The job of a task while the task is executed, in the process and thread that executes it.

    It is the surrounding job from the start to the end.
    """

    __slots__ = ("_handed_on", "_installation", "_part", "execution", "is_mirrored", "task")

    in_pool_process = False
    """True in a process of the prefork pool, whose end its parent notices."""

    def __init__(self, installation: Installation, task: Any) -> None:
        request = task.request
        self._installation, self.task = installation, task
        self._handed_on = self.is_mirrored = False
        self._part = part_of(request.headers)
        self.execution = installation.start(
            request.id,
            kind=task.name,
            attempt=request.retries + 1,
            cancellable=installation.cancellable(task),
            owner=owner_of(request.headers),
            inline=request.is_eager,
            part=self._part,
        )
        setattr(request, ATTRIBUTE, self)
        self.execution.enter()

    @classmethod
    def of(cls, task: Any) -> Self | None:
        """Return the run of the request that the task works on; None where it has none."""
        return getattr(task.request, ATTRIBUTE, None)

    @classmethod
    def current(cls) -> Self | None:
        """Return the run of the task that is executed in this thread."""
        task = get_current_task()
        return None if task is None else cls.of(task)

    def hand_on(self, next_retry_at: datetime | None) -> None:
        """
        Leave the job to the message that is about to be sent: a retry, or a task that replaces this one.

        The record has to be stored before that: another worker may begin before this one is through.
        """
        self._handed_on = True
        self.execution.retry(next_retry_at)

    def precedes(self, id: str) -> bool:
        """Return whether the job of that id is the next step of the chain that this task is in."""
        chain = self.task.request.chain or ()
        return any(id == follower.id for follower in after(chain[-1:], None))

    def returned(self, result: Any) -> None:
        """End the job well."""
        self.execution.succeed(result)
        self.execution.leave()

    def raised(self, error: BaseException | None) -> None:
        """End the job by the exception of the task."""
        state = self._final_state(error)
        if state is None:
            self.execution.detach()
            if _is_time_limit(error) and VERSION < SIGNALS_TIME_LIMITS:
                self._fail_externally(TimeLimitExceeded(getattr(error, "seconds", None)))
        elif self._handed_on:
            if isinstance(error, Reject):  # the message could not be sent after all
                self._fail_externally(error)
        else:
            self._end(state, error)
            if state.final:
                self._installation.end_followers(self.task.request, state, error)
        self.execution.leave()

    def _fail_externally(self, error: BaseException) -> None:
        """Fail the job, whose run has ended without an end, and what would have followed the task."""
        self._installation.end_externally(
            self.execution.id, State.FAILED, kind=self.task.name, error=_reason(error), part=self._part
        )
        self._installation.end_followers(self.task.request, State.FAILED, error)

    def _end(self, state: State, error: BaseException | None) -> None:
        if state is State.FAILED:
            self.execution.fail(_reason(error))
        elif state is State.RETRYING:
            self.execution.retry(self._retry_time(error) if isinstance(error, Retry) else None)
        else:
            self.execution.cancel()

    def _final_state(self, error: BaseException | None) -> State | None:
        """Return how the job ends; None where the process that looks after this one has the say."""
        request = self.task.request
        if isinstance(error, Retry):
            return State.RETRYING
        if isinstance(error, Reject):
            again = error.requeue and self.task.acks_late and not request.is_eager
            return State.RETRYING if again else State.FAILED
        if isinstance(error, Ignore | Cancelled):
            return State.CANCELLED
        if isinstance(error, Exception):
            return State.FAILED
        if _is_time_limit(error):  # the pool is about to say so
            return None
        if Run.in_pool_process and not request.is_eager:
            return None
        return State.FAILED if isinstance(error, SystemExit) else State.CANCELLED

    def _retry_time(self, error: Any) -> datetime | None:
        when = error.when
        if isinstance(when, datetime):
            aware: datetime = maybe_make_aware(when, self.task.app.timezone)
            return aware.astimezone(UTC)
        return datetime.now(UTC) + timedelta(seconds=when) if when else None


def _reason(error: BaseException | None) -> BaseException | str:
    """Return the reason of a failure; `Reject` holds it as an error or as text."""
    reason = getattr(error, "reason", None) if isinstance(error, Reject) else None
    if isinstance(reason, BaseException | str):
        return reason
    return "unknown" if error is None else error


def _is_time_limit(error: BaseException | None) -> bool:
    """Return whether this is how the pools gevent and eventlet end a task that takes too long."""
    return any(kind.__module__ in {"gevent.timeout", "eventlet.timeout"} for kind in type(error).__mro__)
