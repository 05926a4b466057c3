"""
Keeps `Cancelled` inside the task.

It is no Exception, so that a task's own `except Exception` does not swallow it; but Celery lets such an error end the
process of its pool. Therefore the `run` of every task is wrapped when the task is bound to its app: to Celery a
cancelled task is one that raises `Ignore`, which is neither retried nor failed. Only a wrapper around `run` catches
every kind of task (plain, bound, of a base with its own `__call__`, autoretry, class, shared, registered late).

The same wrapper knows when the function has returned and its result is not yet stored: see mirror.py.

The method `on_replace` is wrapped at the same time, so that a task that replaces another one is the same part of a job.
"""

from __future__ import annotations

from functools import wraps
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from celery import states
from celery.app.annotations import prepare, resolve_all
from celery.exceptions import Ignore, TaskRevokedError

from progresskit.errors import Cancelled

from .canvas import keep_part
from .installation import WRAPPED
from .mirror import mirrored, stores_result
from .run import Run

if TYPE_CHECKING:
    from collections.abc import Callable


def wrap_tasks(app: Any) -> None:
    """Wrap the `run` of all tasks of the app, and of those that it registers later."""
    app.annotations = (_Annotation(app),)
    for task in app._tasks.values():
        if type(task).__bound__:
            _wrap(type(task))
            if hasattr(task, "_orig_run"):  # autoretry keeps the function that it wrapped when the task was made
                task._orig_run = _wrapped(task._orig_run)


class _Annotation:
    """
    Stands in place of the setting `task_annotations`, and applies that before it wraps a task.

    It does so itself because Celery takes the first annotation that matches only, and because its own way to wrap a
    method (`@run`) drops the wrappers that were there before.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def annotate(self, task: Any) -> None:
        for values in resolve_all(prepare(self._app.conf.task_annotations), task):
            for name, value in values.items():
                if name.startswith("@"):
                    task.add_around(name[1:], value)
                else:
                    setattr(task, name, value)
        _wrap(task)

    def annotate_any(self) -> None:
        """Do nothing: `annotate` has applied the annotations for any task."""


def _wrap(task_class: Any) -> None:
    task_class.on_replace = _keeping_part(task_class.on_replace)
    run = getattr_static(task_class, "run")
    if isinstance(run, staticmethod):
        task_class.run = staticmethod(_wrapped(run.__func__))
    elif callable(run):
        task_class.run = _wrapped(run)


def _wrapped(run: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(run, WRAPPED):
        return run

    @wraps(run)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        execution = Run.current()
        try:
            with mirrored(execution):
                return run(*args, **kwargs)
        except Cancelled:
            if execution is None:
                raise  # called as a plain function: its caller is cancelled
            _store_revoked(execution.task)
            raise Ignore("cancelled") from None

    setattr(wrapper, WRAPPED, True)
    return wrapper


def _keeping_part(on_replace: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(on_replace, WRAPPED):
        return on_replace

    @wraps(on_replace)
    def wrapper(task: Any, signature: Any) -> Any:
        keep_part(task.request, signature)
        return on_replace(task, signature)

    setattr(wrapper, WRAPPED, True)
    return wrapper


def _store_revoked(task: Any) -> None:
    """Let those that wait for the result, in a chain or chord too, know that there will be none."""
    request = task.request
    try:
        task.backend.mark_as_failure(
            request.id,
            TaskRevokedError("cancelled"),
            request=request,
            store_result=stores_result(task),
            call_errbacks=False,
            state=states.REVOKED,
        )
    except Exception:
        from logging import getLogger

        getLogger("progresskit").warning("Task %s was cancelled, which cannot be stored", request.id, exc_info=True)
