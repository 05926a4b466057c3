"""
Every RQ job is a job of progresskit, without a line in its function.

    queue = Queue(connection=Redis())
    progresskit_rq.install(queue)

    rq worker -w progresskit_rq.Worker

Inside the function `progresskit.current()`, `progresskit.track()` and `progresskit.observe()` report to the job. Where
queues are made by their class, it is `progresskit_rq.Queue`.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_rq", "rq"):
    import rq  # noqa: F401

from progresskit.integrations import owned_by

from .jobs import Job
from .queues import Queue, install
from .workers import SimpleWorker, Worker, WorkerMixin

__all__ = ["Job", "Queue", "SimpleWorker", "Worker", "WorkerMixin", "install", "owned_by"]
