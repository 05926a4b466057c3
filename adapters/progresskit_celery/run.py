"""One execution of a task, and its job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from celery import current_task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import maybe_make_aware

from progresskit.errors import BackendError, Cancelled, FlushTimeout, InvalidValue
from progresskit.progress import State, fit_id
from progresskit.scope import current_job

from . import owner
from .canvas import after
from .revoking import WAITING

if TYPE_CHECKING:
    from .installation import Installation

ATTRIBUTE = "_progresskit_run"
"""Where a task's request keeps its run; so nested and concurrent executions of one task cannot take each other's."""


class Run:
    """
    The job of a task while the task is executed, in the process and thread that executes it.

    It is the surrounding job from the start to the end.
    """

    __slots__ = ("_handed_on", "_installation", "job", "task")

    in_pool_process = False
    """True in a process of the prefork pool, whose end its parent notices."""

    def __init__(self, installation: Installation, task: Any) -> None:
        request = task.request
        outer = current_job() if request.is_eager else None
        inherited = None if outer is None else outer.owner
        self._installation, self.task = installation, task
        self._handed_on = False
        self.job = installation.kit.open(
            fit_id(request.id),
            kind=task.name,
            parent=None if outer is None else outer.id,
            attempt=request.retries + 1,
            cancellable=installation.cancellable(task),
            owner=owner.read(request.headers) or inherited,
        )
        setattr(request, ATTRIBUTE, self)
        installation.kit.publisher.opened(self.job, unless=self._was_cancelled)
        self.job.__enter__()

    def _was_cancelled(self) -> bool:
        """
        Stop the job if it was cancelled while it waited; a worker may have begun its task all the same.

        Workers remember what is revoked in their memory only, and not for tasks that they hold already. Were the start
        published, it would be a new run, of which nobody has cancelled anything.

        Where it waits still, somebody may be about to cancel and end it. So the first record is no start: it goes on
        with the run that waits, or changes nothing where that has ended, and the job is told that it is to stop. What
        waits for another attempt goes on by a start only: one that is ended between this look and that begins anew.
        """
        kit, job = self._installation.kit, self.job
        try:
            before = None if kit.publisher.down else kit.get(job.id)
        except BackendError:
            return False
        if before is None:
            return False
        if before.state is State.PENDING:
            job.stored(before.version.run)
        if not before.cancel_requested:
            return False
        is_before = before.started_at is None or before.attempt < self.task.request.retries + 1
        if is_before and before.state in {State.CANCELLED, *WAITING}:
            job.request_cancel()
        return is_before and before.state is State.CANCELLED

    @classmethod
    def of(cls, task: Any) -> Self | None:
        """Return the run of the request that the task works on; None where it has none."""
        return getattr(task.request, ATTRIBUTE, None)

    @classmethod
    def current(cls) -> Self | None:
        """Return the run of the task that is executed in this thread."""
        task = current_task._get_current_object()
        return None if task is None else cls.of(task)

    def hand_on(self, next_retry_at: datetime | None) -> None:
        """
        Leave the job to the message that is about to be sent: a retry, or what replaces the task.

        The record has to be stored before that: another worker may begin before this one is through.
        """
        self._handed_on = True
        self.job.end(State.RETRYING, next_retry_at=next_retry_at)

    def precedes(self, id: str) -> bool:
        """Tell whether the job of that id is the next step of the chain that this task is in."""
        chain = self.task.request.chain or ()
        return any(id == follower for follower, _ in after(chain[-1:], None))

    def returned(self, result: Any) -> None:
        """End the job well."""
        try:
            self.job.succeed(result if self._installation.kit.settings.expose_results else None)
        except InvalidValue:  # strict, and Celery can carry what JSON cannot
            self.job.succeed()
        self._leave()

    def raised(self, error: BaseException | None) -> None:
        """End the job by what the task raised."""
        state = self._verdict(error)
        if state is None:
            self._forsake()
        elif self._handed_on:
            if isinstance(error, Reject):  # the message could not be sent after all
                self._installation.kit.tell(self.job.id, State.FAILED, kind=self.task.name, error=_reason(error))
        else:
            when = self._retry_time(error) if isinstance(error, Retry) else None
            self.job.end(state, error=_reason(error) if state is State.FAILED else None, next_retry_at=when)
            self._end_followers(state, error)
        self._leave()

    def _verdict(self, error: BaseException | None) -> State | None:
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
        if Run.in_pool_process and not request.is_eager:
            return None
        return State.FAILED if isinstance(error, SystemExit) else State.CANCELLED

    def _retry_time(self, error: Any) -> datetime | None:
        when = error.when
        if isinstance(when, datetime):
            aware: datetime = maybe_make_aware(when, self.task.app.timezone)
            return aware.astimezone(UTC)
        return datetime.now(UTC) + timedelta(seconds=when) if when else None

    def _end_followers(self, state: State, error: BaseException | None) -> None:
        if state.final:
            request = self.task.request
            for id, name in after(request.chain, request.chord):
                self._installation.kit.tell(id, state, kind=name, error=error if state is State.FAILED else None)

    def _forsake(self) -> None:
        # The process is ending: terminated, over a time limit, or by sys.exit(). Which, only its parent can tell. What
        # was reported must be stored before the parent's word, or it would count as a new start.
        self.job.forsake()
        try:
            self._installation.kit.flush()
        except (BackendError, FlushTimeout):
            pass

    def _leave(self) -> None:
        self.job.__exit__(None, None, None)


def _reason(error: BaseException | None) -> BaseException | str | None:
    """Return what went wrong; `Reject` is given it as an error or as text."""
    reason = getattr(error, "reason", None) if isinstance(error, Reject) else None
    return reason if isinstance(reason, BaseException | str) else error
