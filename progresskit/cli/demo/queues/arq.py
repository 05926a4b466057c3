"""arq, on Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from . import QUEUES
from .base import TASKS

with QUEUES["arq"].needed():
    import arq
    from arq.connections import RedisSettings

    import progresskit_arq

    from .on_redis import RedisQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.cli.demo.folder import Folder

JOB_SECONDS = 24 * 3600
"""How long a job may take, where arq's default is five minutes."""


class ArqQueue(RedisQueue):
    """A queue of arq, whose workers execute one job at a time, in a thread beside the event loop."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        self._redis = RedisSettings.from_dsn(broker)

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id, which begins with the name of the queue as all keys do."""
        id = f"{self.name}-{uuid4().hex}"
        asyncio.run(self._enqueue(id, task, *arguments))
        return id

    async def _enqueue(self, id: str, task: str, *arguments: Any) -> None:
        pool = await progresskit_arq.create_pool(self._redis, default_queue_name=self.name)
        try:
            await pool.enqueue_job(task, *arguments, _job_id=id)
        finally:
            await pool.aclose()

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        settings: dict[str, Any] = {
            "functions": [arq.func(_in_thread(function), name=name) for name, function in TASKS.items()],
            "redis_settings": self._redis,
            "queue_name": self.name,
            "max_jobs": 1,
            "job_timeout": JOB_SECONDS,
            "poll_delay": 0.1,
        }
        progresskit_arq.install(settings)
        arq.Worker(**settings).run()


def _in_thread(function: Callable[..., Any]) -> Any:
    async def call(_: dict[str, Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments)

    return call
