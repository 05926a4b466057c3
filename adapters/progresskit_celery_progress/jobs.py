"""
The job that a task's recorder reports to.

Where progresskit_celery is installed in the app, every task has one. Elsewhere it is opened by the first recorder of
an execution, under the task's id, and ended when the task is through.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from celery import signals, states
from celery.exceptions import Ignore

from progresskit.errors import ConfigurationError
from progresskit.kit import default
from progresskit.observer import JoinedObserver, ProgressObserver, silent
from progresskit.progress import State, fit_id

OPENED = "_progresskit_celery_progress_job"
"""Where a task's request keeps the job that was opened here; so nested executions cannot take each other's."""

INSTALLED = "_progresskit_run"
"""Where it keeps what progresskit_celery knows of the execution; `job` is its job."""

logger = logging.getLogger("progresskit")


def job_of(task: Any) -> ProgressObserver:
    """Return the job of the task's present execution; a silent one for a task that is called as a plain function."""
    request = task.request
    if not request.id or request.called_directly:
        return JoinedObserver(silent())
    id = fit_id(request.id)
    surrounding = default().current()
    if surrounding.id == id:
        return surrounding
    # Inside of a child's block the child surrounds: opening the task's id again would take the record from its job.
    run = getattr(request, INSTALLED, None)
    job = getattr(request, OPENED, None) if run is None else run.job
    return JoinedObserver(_open(task, id) if job is None else job)


def _open(task: Any, id: str) -> ProgressObserver:
    kit = default()
    try:
        job = kit.open(id, kind=task.name, attempt=task.request.retries + 1)
    except ConfigurationError as problem:
        _warn(str(problem))  # tasks that ran without a result backend go on to do so
        return silent()
    kit.warn_unshared("a Celery worker")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=f"{__name__}._end")
    signals.worker_process_shutdown.connect(_close, weak=False, dispatch_uid=f"{__name__}._close")
    setattr(task.request, OPENED, job)
    kit.publisher.opened(job)
    return job


@cache
def _warn(problem: str) -> None:
    logger.warning("Progress of Celery tasks is not reported: %s", problem)


def _end(task: Any = None, state: Any = None, retval: Any = None, **_: Any) -> None:
    job: ProgressObserver | None = getattr(task.request, OPENED, None)
    if job is None:
        return
    if state == states.SUCCESS:
        job.succeed(retval if default().settings.expose_results else None)
    elif state == states.RETRY:
        job.end(State.RETRYING)
    elif state == states.IGNORED or isinstance(retval, Ignore):
        job.end(State.CANCELLED)
    elif isinstance(retval, Exception):
        job.fail(retval)
    else:
        job.forsake()  # the process is ending: only its parent can tell why, and what Celery stores is believed


def _close(**_: Any) -> None:
    # The processes of the prefork pool end without running what is registered with atexit.
    default().close()
