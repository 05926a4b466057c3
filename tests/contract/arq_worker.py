"""The settings of the contract's workers, `arq tests.contract.arq_worker.WorkerSettings`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from arq import Retry, func
from arq.connections import RedisSettings

import progresskit_arq
from progresskit.testing.queue_tasks import TASKS

IN_THREADS = os.environ["ARQ_CONCURRENCY"] == "thread"


def as_coroutine(task: Callable[..., Any]) -> Any:
    """Return the task as arq has it: one that is to be tried again raises `Retry`."""

    async def call(ctx: dict[str, Any], *args: Any, retries: int = 0, delay: float = 0.0) -> Any:
        try:
            if iscoroutinefunction(task):
                return await task(*args)
            return await asyncio.to_thread(task, *args) if IN_THREADS else task(*args)
        except Exception:
            if ctx["job_try"] > retries:
                raise
            raise Retry(delay) from None

    return call


class WorkerSettings:
    functions = (
        *(func(as_coroutine(task), name=name) for name, task in TASKS.items()),
        *(func(as_coroutine(task), name=f"limited.{name}", timeout=1) for name, task in TASKS.items()),
    )
    redis_settings = RedisSettings.from_dsn(os.environ["ARQ_URL"])
    max_jobs = int(os.environ["ARQ_SLOTS"])
    poll_delay = 0.01


progresskit_arq.install(WorkerSettings)
