"""The site of queues.py on RQ: a worker that forks for each task, or with BENCH_WORKER=simple one that does not."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import rq
from _queue_tasks import TASKS
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Sequence

_integrated = "PROGRESSKIT_URL" in os.environ
_connection = Redis.from_url(os.environ["BENCH_BROKER"])
_queue, _parked = (rq.Queue(name, connection=_connection) for name in ("default", "parked"))
if _integrated:
    import progresskit_rq

    for each in (_queue, _parked):
        progresskit_rq.install(each)


def send(name: str, *arguments: Any) -> None:
    """Put a task in the queue."""
    _queue.enqueue(TASKS[name], *arguments)


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    _parked.enqueue(TASKS[name])


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    kind = f"{'progresskit_rq' if _integrated else 'rq'}.{os.environ.get('BENCH_WORKER', 'Worker')}"
    url = os.environ["BENCH_BROKER"]
    return (sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", url, "--worker-class", kind)
