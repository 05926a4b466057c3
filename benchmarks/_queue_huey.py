"""The site of queues.py on Huey: Redis, a consumer of two threads."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from _queue_tasks import TASKS
from huey import RedisHuey

if TYPE_CHECKING:
    from collections.abc import Sequence

huey, _other = (RedisHuey(name, url=os.environ["BENCH_BROKER"]) for name in ("bench", "parked"))
if "PROGRESSKIT_URL" in os.environ:
    import progresskit_huey

    for each in (huey, _other):
        progresskit_huey.install(each)

_tasks = {name: huey.task(name=name)(function) for name, function in TASKS.items()}
_parked = {name: _other.task(name=name)(function) for name, function in TASKS.items()}


def send(name: str, *arguments: Any) -> None:
    """Put a task in the queue."""
    _tasks[name](*arguments)


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    _parked[name]()


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    return (sys.executable, "-m", "huey.bin.huey_consumer", "_queue_huey.huey", "--workers", "2", "--quiet")
