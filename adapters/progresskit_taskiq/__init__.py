"""
Every task of Taskiq is a job, without a line in the task.

    broker = ListQueueBroker(url).with_middlewares(progresskit_taskiq.ProgressMiddleware())

Inside a task `progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to its job.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_taskiq", "taskiq"):
    import taskiq  # noqa: F401

from progresskit.integrations import owned_by

from .middleware import ProgressMiddleware

__all__ = ["ProgressMiddleware", "owned_by"]
