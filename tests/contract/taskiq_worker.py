"""The broker of the contract's workers, `taskiq worker tests.contract.taskiq_worker:broker`, and of their sender."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from taskiq.middlewares import SmartRetryMiddleware
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

import progresskit_taskiq
from progresskit.testing.queue_tasks import TASKS

if TYPE_CHECKING:
    from progresskit.kit import Kit


def delaying(kind: type[Any]) -> Any:
    """Return the class of brokers as one whose workers heed the label `delay`, which those of Redis ignore."""

    class Delaying(kind):
        async def kick(self, message: Any) -> None:
            delay = float(message.labels.get("delay", 0)) if self.is_worker_process else 0.0
            if delay:
                LATER.add(asyncio.create_task(self._kick_later(delay, message)))
            else:
                await super().kick(message)

        async def _kick_later(self, delay: float, message: Any) -> None:
            await asyncio.sleep(delay)
            await super().kick(message)

    return Delaying


LATER: set[asyncio.Task[None]] = set()


def make_broker(kind: str, url: str, kit: Kit | None = None, idle_seconds: float = 600) -> Any:
    """Return a broker on lists or streams; the latter executes again what nobody has confirmed for so long."""
    broker: Any
    if kind == "list":
        # With the default of redis-py 8, a worker that has waited for some seconds ends.
        broker = delaying(ListQueueBroker)(url, queue_name="contract", socket_timeout=None)
    else:
        redelivery = {"idle_timeout": int(idle_seconds * 1000), "unacknowledged_lock_timeout": 5}
        broker = delaying(RedisStreamBroker)(url, queue_name="contract", xread_block=500, **redelivery)
    progress = progresskit_taskiq.ProgressMiddleware(kit=kit)
    return broker.with_result_backend(RedisAsyncResultBackend(url)).with_middlewares(
        progress, SmartRetryMiddleware(default_delay=0)
    )


if "TASKIQ_URL" in os.environ:
    idle = float(os.environ.get("TASKIQ_IDLE", "600"))
    broker = make_broker(os.environ["TASKIQ_KIND"], os.environ["TASKIQ_URL"], idle_seconds=idle)
    for name, function in TASKS.items():  # which renames the functions
        broker.register_task(function, task_name=name)
