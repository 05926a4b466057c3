"""The limit on the streams and long polls of the process, and on those of one client."""

from __future__ import annotations

from threading import Lock


class ConnectionLimiter:
    """
    Counts the connections that the process keeps open, in all and per client.

    Each `acquire` that returned True needs one `release` for the same client. Safe to be used by many threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: dict[str, int] = {}
        self.acquired = 0
        """How many are held now."""

    def acquire(self, limit: int, client: str | None = None, client_limit: int = 0) -> bool:
        """Take a place and return True; return False at the limit, or at that of this client, if it is known."""
        with self._lock:
            if self.acquired >= limit or not self._count(client, client_limit):
                return False
            self.acquired += 1
            return True

    def transfer(self, client: str | None, to: str | None, client_limit: int) -> bool:
        """Move a connection from one client to another; return False, without a change, at the limit of the latter."""
        with self._lock:
            if not self._count(to, client_limit):
                return False
            self._discount(client)
            return True

    def release(self, client: str | None = None) -> None:
        """Give one place back."""
        with self._lock:
            self.acquired -= 1
            self._discount(client)

    def _count(self, client: str | None, limit: int) -> bool:
        if client is None:
            return True
        held = self._clients.get(client, 0)
        if held >= limit:
            return False
        self._clients[client] = held + 1
        return True

    def _discount(self, client: str | None) -> None:
        if client is not None:
            left = self._clients[client] - 1
            if left:
                self._clients[client] = left
            else:
                del self._clients[client]


PROCESS_LIMITER = ConnectionLimiter()
"""The one of this process: its threads are shared by all kits in it."""
