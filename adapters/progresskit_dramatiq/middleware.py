"""What Dramatiq calls: where messages are sent, before the actor's function, and after all other middleware."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dramatiq import Retry
from dramatiq.errors import ActorNotFound, RateLimitExceeded
from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage

from progresskit.errors import ConfigurationError
from progresskit.integrations import Integration, current_run, inherit_owner, keep_in_queue, owner_of
from progresskit.progress import State

from .execution import Execution

if TYPE_CHECKING:
    from dramatiq import Actor, Broker, Message, Worker
    from dramatiq.broker import MessageProxy

    from progresskit.kit import Kit

MOVED = "progresskit_moved"
"""The option of a message that its worker moves to its queue when the delay is over: it was reported before."""

CANCELLABLE = "progress_cancellable"


class ProgressMiddleware(Middleware):
    """
    Makes every message of a broker a job under its own id, with the actor's name as its `kind`.

        broker.add_middleware(ProgressMiddleware())

    `kit` is progresskit's default one unless it is given. With `cancellable=False`, or the option
    `progress_cancellable=False` of an actor or message, reporting never raises Cancelled. A message that was cancelled
    while it waited is skipped. With `capture`, bars that actors draw with tqdm or rich count, as in a block of
    `progresskit.capture()`. The position among other middleware does not matter.

    A worker does not start with a kit that cannot work: it raises MiddlewareError.
    """

    def __init__(self, *, kit: Kit | None = None, cancellable: bool = True, capture: bool = False) -> None:
        self._integration = Integration(
            kit,
            capture=capture,
            control_exceptions={Retry: State.RETRYING, RateLimitExceeded: State.RETRYING},
            remove=keep_in_queue,
        )
        self._cancellable = cancellable
        self._execution = Execution()
        self._outcome = _Outcome(self._integration, self._execution)

    @property
    def actor_options(self) -> set[str]:
        """The options of actors that this middleware adds."""
        return {CANCELLABLE}

    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Keep Cancelled inside the actor's function."""
        self._execution.keep_cancelled_inside(actor)

    # In the process that sends, and in a worker that sends a message again.

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Hand a retried job on to its message, before another worker can have that."""
        inherit_owner(message.options)
        run = current_run(message.message_id)
        if run is not None:
            run.retry(_moment(message.options.get("eta")))
            self._execution.lost = True

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Report that a new message waits."""
        options = message.options
        if current_run(message.message_id) is not None:
            self._execution.lost = False
        elif not (options.get("retries") or options.get(MOVED)):
            self._integration.enqueued(message.message_id, kind=message.actor_name, owner=owner_of(options))

    # In a worker.

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Check the configuration, and have the outcome of messages reported after all other middleware."""
        if self._outcome not in broker.middleware:
            # Hooks `after_…` are called in reverse order. This loop over the middleware then comes here once more.
            broker.add_middleware(self._outcome, before=type(broker.middleware[0]))
        try:
            self._integration.check("a Dramatiq worker")
        except ConfigurationError as problem:  # Dramatiq would only log it
            raise MiddlewareError(str(problem)) from problem

    def before_delay_message(self, broker: Broker, message: MessageProxy) -> None:
        """Mark a message that this worker will move to its queue."""
        message.options[MOVED] = True

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Start the job, or skip the message where the job was cancelled."""
        if message.failed:
            return
        id, attempt = message.message_id, _attempt(message)
        if self._integration.cancelled_before_start(id, attempt):
            raise SkipMessage("cancelled")
        run = self._integration.start(
            id,
            kind=message.actor_name,
            attempt=attempt,
            cancellable=self._is_cancellable(broker, message),
            owner=owner_of(message.options),
        )
        self._execution.begin(run)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Store all reports: the processes of Dramatiq end without running `atexit`."""
        self._integration.flush()

    def _is_cancellable(self, broker: Broker, message: MessageProxy) -> bool:
        actor = broker.actors.get(message.actor_name)
        default = self._cancellable if actor is None else actor.options.get(CANCELLABLE, self._cancellable)
        return bool(message.options.get(CANCELLABLE, default))


class _Outcome(Middleware):
    """Ends jobs, once the result is stored and Dramatiq has decided if it tries again: it is first in the broker."""

    def __init__(self, integration: Integration, execution: Execution) -> None:
        self._integration, self._execution = integration, execution

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """End the job by the outcome of its message, unless that is in the queue again."""
        run = self._execution.end()
        if exception is None and not message.failed:
            if run is not None:
                run.succeed(result)
        elif run is None:
            self._end(message, State.FAILED, exception)
        else:
            run.fail(_reason(exception))  # which is ignored where the message was sent again
            if self._execution.lost:
                self._end(message, State.FAILED, exception)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """End the job of a message that was cancelled, or that other middleware has skipped."""
        run = self._execution.end()
        if run is None:
            self._end(message, State.FAILED if message.failed else State.CANCELLED)
        elif message.failed:
            run.fail(_reason(None))
        else:
            run.cancel()

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        """End the job of a message that no actor processes."""
        if message.actor_name not in broker.actors:
            self._end(message, State.FAILED, ActorNotFound(message.actor_name))

    def _end(self, message: MessageProxy, state: State, error: BaseException | None = None) -> None:
        self._integration.end_externally(
            message.message_id,
            state,
            kind=message.actor_name,
            error=_reason(error) if state is State.FAILED else None,
            attempt=_attempt(message),
        )


def _attempt(message: MessageProxy) -> int:
    retries = message.options.get("retries")
    return retries + 1 if isinstance(retries, int) and retries > 0 else 1


def _reason(error: BaseException | None) -> BaseException | str:
    return "Dramatiq has rejected the message" if error is None else error


def _moment(eta: Any) -> datetime | None:
    return datetime.fromtimestamp(eta / 1000, UTC) if isinstance(eta, int | float) else None
