"""Taskiq, on a list of Redis."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING, Any

from . import QUEUES
from .base import CONNECT_SECONDS, TASKS

with QUEUES["taskiq"].needed():
    from taskiq.kicker import AsyncKicker
    from taskiq.receiver import Receiver
    from taskiq_redis import ListQueueBroker

    import progresskit_taskiq

    from .on_redis import RedisQueue

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from progresskit.cli.demo.folder import Folder


class TaskiqQueue(RedisQueue):
    """A broker of Taskiq with its event loop; each worker executes one task at a time, in a thread beside the loop."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        # With the default of redis-py 8, a worker that has waited for some seconds ends.
        timeouts = {"socket_timeout": None, "socket_connect_timeout": CONNECT_SECONDS}
        self._broker = ListQueueBroker(broker, queue_name=self.name, **timeouts)
        self._broker.add_middlewares(progresskit_taskiq.ProgressMiddleware())
        for name, function in TASKS.items():
            self._broker.register_task(function, task_name=name)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def prepare(self) -> None:
        """Reach the server, and run the event loop for the threads that send."""
        super().prepare()
        self._thread.start()
        self._call(self._broker.startup())

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        return str(self._call(AsyncKicker(task, self._broker, {}).kiq(*arguments)).task_id)

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        self._broker.is_worker_process = True
        receiver = Receiver(self._broker, max_async_tasks=1)
        self._loop.run_until_complete(receiver.listen(asyncio.Event()))

    def remove(self) -> None:
        """End the event loop; remove the queue from the server."""
        self._call(self._broker.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        super().remove()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
