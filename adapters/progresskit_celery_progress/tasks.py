"""Stores the state of ignored tasks, which Celery does not store; found by its `autodiscover_tasks`."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.signals import task_postrun


def _store_ignored(task: Any = None, state: Any = None, retval: Any = None, **_: Any) -> None:
    if state == states.IGNORED:
        task.update_state(state=states.IGNORED, meta=str(retval))


task_postrun.connect(_store_ignored, weak=False, dispatch_uid=f"{__name__}._store_ignored")
