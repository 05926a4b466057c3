"""
Every task of Procrastinate is a job, without a line in the task.

    app = procrastinate.App(connector=procrastinate.PsycopgConnector())
    progresskit_procrastinate.install(app)

Inside a task `progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to its job.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_procrastinate", "procrastinate"):
    import procrastinate  # noqa: F401

from progresskit.integrations import owned_by

from .reporting import install

__all__ = ["install", "owned_by"]
