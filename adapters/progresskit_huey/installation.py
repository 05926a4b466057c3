"""The Huey instances that progresskit is installed in."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

from huey import signals
from huey.exceptions import CancelExecution, RetryTask
from huey.utils import normalize_time

from progresskit.integrations import Integration, inherit_owner, owner_of
from progresskit.progress import State

from .execution import ATTEMPT, REPORTED, Execution, followers, hand_down_owner

if TYPE_CHECKING:
    from progresskit.kit import Kit

NAME = "progresskit"
"""The name of the hooks."""


class Installation(Integration):
    """How the tasks of one Huey instance become jobs, and of which kit."""

    def __init__(self, huey: Any, kit: Kit | None, cancellable: bool, capture: bool) -> None:
        super().__init__(
            kit,
            capture=capture,
            control_exceptions={RetryTask: State.RETRYING, CancelExecution: State.CANCELLED},
            remove=self._revoke,
        )
        self._huey, self._cancellable = huey, cancellable

    def connect(self) -> None:
        """Listen to the Huey instance; hooks of an earlier installation are replaced."""
        huey = self._huey
        huey.pre_execute(NAME)(self._starting)
        huey.post_execute(NAME)(self._executed)
        huey.on_shutdown(NAME)(self.flush)
        huey.signal(signals.SIGNAL_ENQUEUED)(self._enqueued)
        huey.signal(signals.SIGNAL_CANCELED)(self._canceled)
        huey.signal(signals.SIGNAL_REVOKED, signals.SIGNAL_EXPIRED)(self._never_called)
        huey.signal(signals.SIGNAL_INTERRUPTED)(self._interrupted)

    def disconnect(self) -> None:
        """Have another installation replace this one."""
        self.withdraw()
        for receiver in (self._enqueued, self._canceled, self._never_called, self._interrupted):
            self._huey.disconnect_signal(receiver)

    def _revoke(self, ids: list[str]) -> None:
        for id in ids:
            self._huey.revoke_by_id(id, revoke_once=True)

    # In the process that sends, and in a worker that sends a task again.

    def _enqueued(self, signal: str, task: Any) -> None:
        inherit_owner(task.kwargs)
        is_moved = task.eta is not None and self._huey.ready_to_run(task)  # by the scheduler, when it is due
        if is_moved or ATTEMPT in task.kwargs or hasattr(task, REPORTED):
            return
        owner = owner_of(task.kwargs)
        for each in (task, *followers(task)):
            self.enqueued(each.id, kind=each.name, owner=owner)

    # In a worker.

    def _starting(self, task: Any) -> None:
        execution = Execution(task)
        run = self.start(
            task.id,
            kind=task.name,
            attempt=execution.attempt,
            cancellable=bool(getattr(task, "progress_cancellable", self._cancellable)),
            owner=owner_of(execution.carried),
            inline=self._huey.immediate,
        )
        execution.begin(run)

    def _executed(self, task: Any, value: Any, error: BaseException | None) -> None:
        # Huey has stored the result, and does not yet send what comes next.
        execution = Execution.of(task)
        if execution is None or execution.run is None:
            return
        run = execution.run
        hand_down_owner(task)
        if error is None:
            run.succeed(value)
        elif task.retries:
            execution.carry_on()
            run.retry(self._next_try(task, error))
        elif isinstance(error, CancelExecution):
            run.cancel()
            self._end_followers(task, State.CANCELLED)
        else:
            run.fail(error)
            self._end_followers(task, State.FAILED, error)
        execution.end()

    def _next_try(self, task: Any, error: BaseException) -> datetime | None:
        eta, delay = getattr(error, "eta", None), getattr(error, "delay", None)
        if not isinstance(error, RetryTask):  # of a rate limit too: the delay of the task comes first
            delay = task.retry_delay or delay
        if not (eta or delay):
            return None
        moment: datetime = normalize_time(eta, None if eta else delay, self._huey.utc)
        return moment.replace(tzinfo=UTC) if self._huey.utc else moment.astimezone(UTC)

    def _canceled(self, signal: str, task: Any) -> None:
        execution = Execution.of(task)
        if execution is None:
            self._never_called(signal, task)
        elif execution.run is not None and not execution.called:  # by a hook that was called after ours
            execution.run.cancel()
            execution.end()
            self._end_followers(task, State.CANCELLED)

    def _never_called(self, signal: str, task: Any) -> None:
        for each in (task, *followers(task)):
            self.end_externally(each.id, State.CANCELLED, kind=each.name)

    def _interrupted(self, signal: str, task: Any) -> None:
        # In the thread that stops the consumer, while the task still runs; or after it has raised KeyboardInterrupt.
        execution = Execution.of(task)
        if execution is not None and execution.run is not None:
            execution.run.fail("Huey was stopped, and has lost the task")
        self._end_followers(task, State.FAILED, "the task before this one was lost")
        self.flush()

    def _end_followers(self, task: Any, state: State, error: BaseException | str | None = None) -> None:
        for each in followers(task):
            self.end_externally(each.id, state, kind=each.name, error=error)


_installations: dict[Any, Installation] = {}


def install(huey: Any, *, kit: Kit | None = None, cancellable: bool = True, capture: bool = False) -> None:
    """
    Make every task of the Huey instance a job under its own id, with the name of its function as its `kind`.

    `kit` is progresskit's default one unless it is given. With `cancellable=False`, or for a task with the setting
    `progress_cancellable=False`, reporting never raises Cancelled. With `capture`, bars that tasks draw with tqdm or
    rich count, as in a block of `progresskit.capture()`. Call it once, where the instance is made; a later
    call replaces the settings.

    A consumer does not start with a kit that cannot work: it raises ConfigurationError.
    """
    before = _installations.get(huey)
    if before is None:
        huey.create_consumer = _checked(huey, huey.create_consumer)
        huey.execute = _failing_lost_tasks(huey.execute)
    else:
        before.disconnect()
    _installations[huey] = Installation(huey, kit, cancellable, capture)
    _installations[huey].connect()


def _checked(huey: Any, create_consumer: Any) -> Any:
    @wraps(create_consumer)
    def create_checked_consumer(**options: Any) -> Any:
        _installations[huey].check("a Huey worker")
        return create_consumer(**options)

    return create_checked_consumer


def _failing_lost_tasks(execute: Any) -> Any:
    @wraps(execute)
    def execute_and_end(task: Any, *args: Any, **kwargs: Any) -> Any:
        lost: BaseException | str = "Huey has lost the task"
        try:
            return execute(task, *args, **kwargs)
        except BaseException as error:
            lost = error
            raise
        finally:
            execution = Execution.of(task)
            if execution is not None:  # Huey has called no hook that ends it
                execution.fail(lost)

    return execute_and_end
