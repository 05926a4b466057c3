"""
The job that a task's recorder reports to.

Where progresskit_celery is installed in the app, every task has one. Elsewhere it is opened by the first recorder of
an execution, under the task's id, and ended when the task is through.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from celery import current_task, signals, states
from celery.exceptions import Ignore

from progresskit.default_kit import default
from progresskit.errors import ConfigurationError
from progresskit.integrations import Integration, Run, RunObserver, current_run, fit_id

if TYPE_CHECKING:
    from progresskit import ProgressObserver

OPENED = "_progresskit_celery_progress_run"
"""Where a task's request keeps the run that was started here; so nested executions cannot take each other's."""

logger = logging.getLogger("progresskit")


def job_of(task: Any) -> ProgressObserver:
    """Return the job of the task's present execution; a silent one for a task that is called as a plain function."""
    request = task.request
    if not request.id or request.called_directly:
        return RunObserver(None)
    job = default().current()
    if job.id == fit_id(request.id):
        return job
    # Inside of a child's block the child surrounds: opening the task's id again would take the record from its job.
    return RunObserver(current_run(request.id) or getattr(request, OPENED, None) or _start(task))


def _start(task: Any) -> Run | None:
    integration = _integration()
    try:
        run = integration.start(task.request.id, kind=task.name, attempt=task.request.retries + 1, queued=False)
    except ConfigurationError as problem:
        _warn(str(problem))  # tasks that ran without a result backend keep running
        return None
    integration.check("a Celery worker")
    signals.before_task_publish.connect(_before_retry, weak=False, dispatch_uid=f"{__name__}._before_retry")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=f"{__name__}._end")
    signals.worker_process_shutdown.connect(_close, weak=False, dispatch_uid=f"{__name__}._close")
    setattr(task.request, OPENED, run)
    return run


@cache
def _integration() -> Integration:
    return Integration()


@cache
def _warn(problem: str) -> None:
    logger.warning("Progress of Celery tasks is not reported: %s", problem)


def _before_retry(headers: Any = None, **_: Any) -> None:
    # A start that is stored after the one of the next attempt would be a new run, and own the record.
    task = current_task._get_current_object()
    if task is not None and hasattr(task.request, OPENED) and headers.get("id") == task.request.id:
        _integration().flush()


def _end(task: Any = None, state: Any = None, retval: Any = None, **_: Any) -> None:
    run: Run | None = getattr(task.request, OPENED, None)
    if run is None:
        return
    if state == states.SUCCESS:
        run.succeed(retval)
    elif state == states.RETRY:
        run.retry()
    elif state == states.IGNORED or isinstance(retval, Ignore):
        run.cancel()
    elif isinstance(retval, Exception):
        run.fail(retval)
    else:
        run.detach()  # the process ends: only its parent knows the reason, and the result that Celery stores counts


def _close(**_: Any) -> None:
    # The processes of the prefork pool end without running `atexit`.
    _integration().close()
