"""The Procrastinate app of the contract's workers, `procrastinate --app tests.contract.procrastinate_worker.app`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import procrastinate
from procrastinate import BaseRetryStrategy, RetryDecision

import progresskit_procrastinate
from progresskit.testing.queue_tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.kit import Kit


class AsSent(BaseRetryStrategy):
    """Tries again as often as the sender of a job says, whatever was raised."""

    def get_retry_decision(self, *, exception: BaseException, job: Any) -> RetryDecision | None:
        if job.attempts >= job.task_kwargs.get("retries", 0):
            return None
        return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=job.task_kwargs["delay"]))


def by_name(task: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that has its positional arguments by name, as Procrastinate carries them."""

    @wraps(task)
    def call(args: list[Any], retries: int = 0, delay: float = 0) -> Any:
        return task(*args)

    @wraps(task)
    async def call_in_loop(args: list[Any], retries: int = 0, delay: float = 0) -> Any:
        return await task(*args)

    return call_in_loop if iscoroutinefunction(task) else call


def make_app(connector: Any, kit: Kit | None = None) -> procrastinate.App:
    """Return an app with the tasks of the contract."""
    made = procrastinate.App(connector=connector, worker_defaults={"fetch_job_polling_interval": 0.1})
    progresskit_procrastinate.install(made, kit=kit)
    for name, task in TASKS.items():
        made.task(name=name, retry=AsSent())(by_name(task))
    return made


if "PROCRASTINATE_URL" in os.environ:
    app = make_app(procrastinate.PsycopgConnector(conninfo=os.environ["PROCRASTINATE_URL"]))
