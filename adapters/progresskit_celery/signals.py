"""Listens to Celery: in the process that sends, in the one that executes, and in the one that looks after the pool."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from celery import signals, states
from celery.app.task import Context
from celery.bootsteps import Step
from celery.exceptions import NotRegistered
from celery.utils.time import maybe_iso8601, maybe_make_aware

from progresskit.integrations import PART_HEADER, fit_id, inherit_owner, owner_of, part_of
from progresskit.progress import State

from .canvas import REVOKE_STAMPED, Follower, after
from .ending import defer_signal_to_main_thread
from .installation import find, installations, sending
from .run import Run


def connect() -> None:
    """Begin to listen; once is enough for all apps."""
    for signal, receiver in (
        (signals.before_task_publish, _before_sending),
        (signals.after_task_publish, _sent),
        (signals.task_received, _received),
        (signals.task_prerun, _starting),
        (signals.task_postrun, _ended),
        (signals.task_failure, _failed),
        (signals.task_revoked, _revoked),
        (signals.task_unknown, _unknown),
        (signals.worker_shutdown, _worker_ending),
        (signals.worker_process_init, _child_starting),
        (signals.worker_process_shutdown, _child_ending),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"progresskit{receiver.__name__}")


# In the process that sends.


def _before_sending(headers: Any = None, body: Any = None, **_: Any) -> None:
    inherit_owner(headers)
    run = Run.current()
    if run is None:
        return
    message, followers = _read(headers, body)
    if run.execution.id in {fit_id(message["id"]), *(follower.id for follower in followers)}:
        run.hand_on(_moment(run.task.app, message.get("eta")))


def _sent(headers: Any = None, body: Any = None, **_: Any) -> None:
    # After the message was sent, and not before: a task that could not be sent does not wait. That the worker may
    # have begun meanwhile does no harm, for a pending job never replaces a running or an ended one.
    installation = sending()
    message, followers = _read(headers, body)
    if installation is None or message.get("retries"):
        return
    sent = Follower(fit_id(message["id"]), message["task"], part_of(headers))
    if followers and (run := Run.current()) is not None and run.precedes(sent.id):
        followers = []  # this is the next step of a chain, and they were reported with its first
    for id, name, part in (sent, *followers):
        if not installation.ignores(name):
            installation.enqueued(id, kind=name, owner=owner_of(headers), part=part)


def _read(headers: Any, body: Any) -> tuple[Any, list[Follower]]:
    """Return the properties of the message's task, and the tasks after it."""
    if "task" not in headers:  # the old protocol
        return body, []
    embedded = body[2]
    return headers, [*after(embedded.get("chain"), embedded.get("chord"), embedded.get("callbacks"))]


def _moment(app: Any, eta: Any) -> datetime | None:
    if not eta:
        return None
    aware: datetime = maybe_make_aware(maybe_iso8601(eta), app.timezone)
    return aware.astimezone(UTC)


# In the process that executes.


def _starting(task: Any = None, **_: Any) -> None:
    installation = find(task.app)
    if installation is not None and not installation.ignores(task.name):
        Run(installation, task)


def _ended(task: Any = None, state: Any = None, retval: Any = None, **_: Any) -> None:
    run = Run.of(task)
    if run is None:
        return
    if state == states.SUCCESS:
        run.returned(retval)
    else:
        # Without a state, an error is on its way through Celery that it does not handle.
        run.raised(retval if state is not None else sys.exc_info()[1])


# In the process that supervises the pool, for the ends that the executing one cannot report: a time limit, a lost
# worker, a revoked task. Where one process does both, the report of the run comes first.


_requests: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""The requests of parts that this worker has received: Celery does not name the request of a task that was lost."""


def _received(request: Any = None, **_: Any) -> None:
    if PART_HEADER in request.request_dict:
        _requests[request.id] = request


def _failed(sender: Any = None, task_id: Any = None, exception: Any = None, **_: Any) -> None:
    if Run.of(sender) is None:
        _end_externally(sender, task_id, State.FAILED, exception)


def _revoked(sender: Any = None, request: Any = None, **_: Any) -> None:
    _end_externally(sender, request.id, State.CANCELLED, request=request)


def _end_externally(task: Any, id: str, state: State, error: BaseException | None = None, request: Any = None) -> None:
    installation = find(task.app)
    if installation is None:
        return
    if request is None:
        received = _requests.get(id)
        request = task.request if received is None else received._context
    is_named = request.id == id
    if not installation.ignores(task.name):
        part = part_of(request.headers) if is_named else None
        installation.end_externally(id, state, kind=task.name, error=error, part=part)
    if is_named:
        installation.end_followers(request, state, error)


def _unknown(sender: Any = None, name: Any = None, id: Any = None, message: Any = None, **_: Any) -> None:
    installation = find(sender.app)
    if installation is not None and not installation.ignores(name):
        error, part = NotRegistered(name), part_of(message.headers)
        installation.end_externally(id, State.FAILED, kind=name, error=error, part=part)
        if part is not None:
            request = Context(message.headers, **message.payload[2])
            installation.end_followers(request, State.FAILED, error)


# The life of processes.


class Configured(Step):
    """
    Checks the configuration before a worker starts: an error in the receiver of a signal would only be logged.

    The worker also learns to revoke the tasks of a canvas.
    """

    def __init__(self, worker: Any, **_: Any) -> None:
        installation = find(worker.app)
        if installation is not None:
            installation.check("a Celery worker")
            from celery.worker import control

            control.control_command(name=REVOKE_STAMPED)(_revoke_stamped)


def _revoke_stamped(state: Any, stamps: dict[str, str], terminate: bool = False, **_: Any) -> Any:
    # Celery's own command for stamps leaves alone what its worker has received and not started.
    from celery.worker import control
    from celery.worker import state as worker_state

    control.revoke_by_stamped_headers(state, stamps)
    received = [*worker_state.requests.values()]
    ids = [request.id for request in received if not stamps.keys().isdisjoint(request.stamped_headers)]
    return control.revoke(state, ids, terminate=terminate)


def _worker_ending(**_: Any) -> None:
    for installation in installations():
        installation.flush()


def _child_starting(**_: Any) -> None:
    Run.in_pool_process = True


def _child_ending(**_: Any) -> None:
    # The processes of the prefork pool end without running `atexit`.
    for installation in installations():
        installation.close()
    defer_signal_to_main_thread()
