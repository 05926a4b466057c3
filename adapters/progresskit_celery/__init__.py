"""
Every Celery task is a job, without a line in the task.

    app = Celery("proj", broker=...)
    progresskit_celery.install(app)

Inside a task `progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to its job. A bound task
may also use an observer of the classic form: `observer = ProgressObserver(self)`.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_celery", "celery"):
    import celery  # noqa: F401

from progresskit.integrations import owned_by

from .classic import ProgressObserver
from .installing import install
from .parts import send

__all__ = ["ProgressObserver", "install", "owned_by", "send"]
