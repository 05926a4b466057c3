"""The site of queues.py on Celery: a Redis as broker and for results, two processes of the prefork pool."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from _queue_tasks import TASKS
from celery import Celery

if TYPE_CHECKING:
    from collections.abc import Sequence

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, result_expires=60)
if "PROGRESSKIT_URL" in os.environ:
    import progresskit_celery

    progresskit_celery.install(app)

_tasks = {name: app.task(name=name)(function) for name, function in TASKS.items()}


def send(name: str, *arguments: Any) -> None:
    """Put a task in the queue."""
    _tasks[name].delay(*arguments)


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    _tasks[name].apply_async(queue="parked")


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    options = ("-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR")
    return (sys.executable, "-m", "celery", "-A", "_queue_celery", "worker", *options)
