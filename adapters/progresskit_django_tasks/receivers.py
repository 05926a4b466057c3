"""
What is done at the signals of the task framework.

A receiver that raises would fail the task, or end its worker, so mistakes are logged; but `Cancelled` is raised on
purpose, for a task that was cancelled while it waited.
"""

from __future__ import annotations

import sys
from functools import wraps
from logging import getLogger
from typing import TYPE_CHECKING, Any

from django.db import transaction

from progresskit.errors import Cancelled
from progresskit.integrations import current_run, owner_of
from progresskit.progress import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.integrations import Integration

SKIPPING = ("django_tasks_db", "django_tasks_rq")
"""The packages whose workers take an exception of `task_started` for one of the task."""


def _logged(receive: Callable[..., None]) -> Callable[..., None]:
    @wraps(receive)
    def receiver(self: Receivers, sender: Any, task_result: Any, **_: Any) -> None:
        try:
            receive(self, sender, task_result)
        except Exception:
            getLogger("progresskit").exception("The progress of task %s is not reported", task_result.id)

    return receiver


class Receivers:
    """The receivers of the three signals: where tasks are sent, and twice where they are executed."""

    def __init__(self, integration: Integration) -> None:
        self._integration = integration

    @_logged
    def enqueued(self, sender: Any, task_result: Any) -> None:
        """Report that a task waits; one that is sent in a transaction does so when that is committed."""
        if _is_dummy(sender):
            return
        about = {"kind": task_result.task.module_path, "owner": owner_of(task_result.kwargs)}
        row = getattr(task_result, "db_result", None)
        if row is None:
            self._integration.enqueued(task_result.id, **about)
        else:
            transaction.on_commit(lambda: self._integration.enqueued(task_result.id, **about), using=row._state.db)

    @_logged
    def started(self, sender: Any, task_result: Any) -> None:
        """Start the job; raises Cancelled where it was cancelled while it waited."""
        id, attempt, task = task_result.id, max(task_result.attempts, 1), task_result.task
        if sender.__module__.split(".")[0] in SKIPPING:
            self._integration.check("a worker of Django's tasks")
            if self._integration.cancelled_before_start(id, attempt):
                raise Cancelled
        run = self._integration.start(
            id,
            kind=task.module_path,
            attempt=attempt,
            cancellable=getattr(task.func, "progress_cancellable", True),
            owner=owner_of(task_result.kwargs),
            inline=True,  # there is a surrounding job only where a task is executed in the call that sends it
        )
        run.enter()

    @_logged
    def finished(self, sender: Any, task_result: Any) -> None:
        """End the job; the signal does not name the error of a task, which is being handled."""
        if _is_dummy(sender):
            return
        error = None if task_result.status == "SUCCESSFUL" else sys.exc_info()[1] or "unknown"
        run = current_run(task_result.id)
        if run is None:
            state = State.CANCELLED if isinstance(error, Cancelled) else State.FAILED if error else State.SUCCEEDED
            about = {"kind": task_result.task.module_path, "error": error if state is State.FAILED else None}
            self._integration.end_externally(task_result.id, state, **about)
            self._integration.flush()  # RQ ends the process without running `atexit`
            return
        run.leave()
        if error is None:
            run.succeed(task_result._return_value)
        elif isinstance(error, Cancelled):
            run.cancel()
        else:
            run.fail(error)


def _is_dummy(sender: Any) -> bool:
    """Return whether a backend is one that only remembers tasks, for tests of a site."""
    return bool(sender.__module__.endswith(".backends.dummy"))
