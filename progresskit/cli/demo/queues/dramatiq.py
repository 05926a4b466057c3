"""Dramatiq, on Redis or RabbitMQ."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

from . import QUEUES
from .base import CONNECT_SECONDS, TASKS, Queue

with QUEUES["dramatiq"].needed():
    import dramatiq
    from dramatiq.brokers.rabbitmq import RabbitmqBroker
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.common import dq_name, xq_name
    from redis import Redis

    import progresskit_dramatiq

if TYPE_CHECKING:
    from progresskit.cli.demo.folder import Folder


class DramatiqQueue(Queue):
    """A broker of Dramatiq, whose workers have one thread each."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        self._on_redis = not broker.startswith("amqp")
        self._broker: Any
        if self._on_redis:
            client = Redis.from_url(broker, socket_connect_timeout=CONNECT_SECONDS)
            self._broker = RedisBroker(client=client, namespace=self.name)
        else:
            self._broker = RabbitmqBroker(url=broker)
        self._broker.add_middleware(progresskit_dramatiq.ProgressMiddleware())
        actor: Any = dramatiq.actor
        for name, function in TASKS.items():
            actor(function, broker=self._broker, actor_name=name, queue_name=self.name, max_retries=0)

    def prepare(self) -> None:
        """Reach the server."""
        if self._on_redis:
            self._broker.client.ping()
        else:
            self._broker.connection  # noqa: B018 - it is opened

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        return str(self._broker.get_actor(task).send(*arguments).message_id)

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        worker = dramatiq.Worker(self._broker, worker_threads=1)
        worker.queue_prefetch = 1  # the others wait in the queue, where either worker can take them
        worker.start()
        Event().wait()

    def remove(self) -> None:
        """Remove the queue from the server."""
        if self._on_redis:
            for key in self._broker.client.scan_iter(f"{self.name}:*"):
                self._broker.client.delete(key)
        else:
            for name in (self.name, dq_name(self.name), xq_name(self.name)):
                self._broker.channel.queue_delete(name)
        self._broker.close()
