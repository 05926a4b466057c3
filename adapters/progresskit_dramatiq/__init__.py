"""
Every Dramatiq message is a job, without a line in the actor.

    broker = RedisBroker()
    broker.add_middleware(progresskit_dramatiq.ProgressMiddleware())

Inside an actor `progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to its job.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_dramatiq", "dramatiq"):
    import dramatiq  # noqa: F401

from progresskit.integrations import owned_by

from .middleware import ProgressMiddleware

__all__ = ["ProgressMiddleware", "owned_by"]
