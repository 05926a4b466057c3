"""The site of queues.py on Dramatiq: Redis, a process of two threads."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dramatiq
from _queue_tasks import TASKS
from dramatiq.brokers.redis import RedisBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

broker = RedisBroker(url=os.environ["BENCH_BROKER"])
if "PROGRESSKIT_URL" in os.environ:
    import progresskit_dramatiq

    broker.add_middleware(progresskit_dramatiq.ProgressMiddleware())

_actor: Any = partial(dramatiq.actor, broker=broker)
_tasks = {name: _actor(function, actor_name=name) for name, function in TASKS.items()}
_parked = {name: _actor(function, actor_name=f"parked-{name}", queue_name="parked") for name, function in TASKS.items()}


def send(name: str, *arguments: Any) -> None:
    """Put a task in the queue."""
    _tasks[name].send(*arguments)


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    _parked[name].send()


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    dramatiq = str(Path(sys.executable).parent / "dramatiq")
    return (dramatiq, "_queue_dramatiq:broker", "--processes", "1", "--threads", "2", "--queues", "default")
