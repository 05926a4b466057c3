"""
Every task of Huey is a job, without a line in the task.

    huey = RedisHuey("proj")
    progresskit_huey.install(huey)

Inside a task `progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to its job.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_huey", "huey"):
    import huey  # noqa: F401

from progresskit.integrations import owned_by

from .installation import install

__all__ = ["install", "owned_by"]
