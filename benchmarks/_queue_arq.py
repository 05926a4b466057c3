"""The site of queues.py on arq: Redis, a worker that executes two jobs at a time, in its event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arq
from _queue_tasks import TASKS, as_coroutine
from arq import func
from arq.connections import RedisSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _with_context(function: Callable[..., None]) -> Any:
    coroutine = as_coroutine(function)

    async def call(ctx: dict[str, Any], *arguments: int) -> None:
        await coroutine(*arguments)

    return call


class WorkerSettings:
    functions = tuple(func(_with_context(function), name=name) for name, function in TASKS.items())
    redis_settings = RedisSettings.from_dsn(os.environ["BENCH_BROKER"])
    max_jobs = 2
    poll_delay = 0.001  # a worker that has free slots waits for half a second otherwise


_create_pool = arq.create_pool
if "PROGRESSKIT_URL" in os.environ:
    import progresskit_arq

    progresskit_arq.install(WorkerSettings)
    _create_pool = progresskit_arq.create_pool

_loop = asyncio.new_event_loop()


@cache
def _pool() -> Any:
    return _loop.run_until_complete(_create_pool(WorkerSettings.redis_settings))


def send(name: str, *arguments: Any, **options: Any) -> None:
    """Put a task in the queue."""
    _loop.run_until_complete(_pool().enqueue_job(name, *arguments, **options))


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    send(name, _queue_name="parked")


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    return (str(Path(sys.executable).parent / "arq"), "_queue_arq.WorkerSettings")
