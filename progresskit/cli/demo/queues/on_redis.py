"""The common part of queues on Redis: the demo reaches the server, and removes the keys of the queue."""

from __future__ import annotations

from progresskit.registry import needs_extra

from .base import CONNECT_SECONDS, Queue

with needs_extra("progresskit.cli.demo", "redis"):
    from redis import Redis


class RedisQueue(Queue):
    """A queue all of whose keys have its name in them."""

    def prepare(self) -> None:
        """Reach the server."""
        with self._client() as client:
            client.ping()

    def remove(self) -> None:
        """Remove the queue and its jobs from the server."""
        with self._client() as client:
            for key in client.scan_iter(f"*{self.name}*"):
                client.delete(key)

    def _client(self) -> Redis:
        return Redis.from_url(self.broker, socket_connect_timeout=CONNECT_SECONDS)
