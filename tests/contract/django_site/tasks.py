"""The tasks of the contract, as Django finds them: by the name of a module-level `Task`."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from django_tasks import task

from progresskit.testing.queue_tasks import TASKS


def _task(function: Any) -> Any:
    copy = FunctionType(function.__code__, function.__globals__, function.__name__)
    copy.__module__ = __name__
    return task(copy)


globals().update({name: _task(function) for name, function in TASKS.items()})
