"""
Every job of arq is a job of progresskit, without a line in its function.

    class WorkerSettings:
        functions = [count]

    progresskit_arq.install(WorkerSettings)

Senders take `create_pool` from here, so that their jobs are known while they wait. Inside a function
`progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to its job.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_arq", "arq"):
    import arq  # noqa: F401

from progresskit.integrations import owned_by

from .execution import JobCancelled
from .installation import create_pool, install

__all__ = ["JobCancelled", "create_pool", "install", "owned_by"]
