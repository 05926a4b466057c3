"""The site of queues.py on Taskiq: a list of Redis, a worker that executes two tasks at a time, in its event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from _queue_tasks import TASKS, as_coroutine
from taskiq.kicker import AsyncKicker
from taskiq_redis import ListQueueBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

broker = ListQueueBroker(os.environ["BENCH_BROKER"], socket_timeout=None)
if "PROGRESSKIT_URL" in os.environ:
    import progresskit_taskiq

    broker.add_middlewares(progresskit_taskiq.ProgressMiddleware())

for _name, _function in TASKS.items():
    broker.register_task(as_coroutine(_function), task_name=_name)

_runner = asyncio.Runner()


def send(name: str, *arguments: Any, **labels: Any) -> None:
    """Put a task in the queue."""
    _runner.run(AsyncKicker(name, broker, labels).kiq(*arguments))


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    send(name, queue_name="parked")


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    options = ("--workers", "1", "--max-async-tasks", "2")
    return (sys.executable, "-m", "taskiq", "worker", "_queue_taskiq:broker", *options)
