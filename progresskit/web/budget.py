"""How many streams and long polls the process holds, and for how many of them one client is the reason."""

from __future__ import annotations

from threading import Lock


class Budget:
    """Counts places; each that was taken has to be given back once, for the same client."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: dict[str, int] = {}
        self.taken = 0

    def take(self, limit: int, client: str | None = None, client_limit: int = 0) -> bool:
        """Take a place and return True, unless so many are taken, or so many by this client, if it is known."""
        with self._lock:
            if self.taken >= limit or not self._count(client, client_limit):
                return False
            self.taken += 1
            return True

    def pass_on(self, client: str | None, to: str | None, client_limit: int) -> bool:
        """Have a place that a client has taken count for another; return False where that one has so many."""
        with self._lock:
            if not self._count(to, client_limit):
                return False
            self._discount(client)
            return True

    def give_back(self, client: str | None = None) -> None:
        """Give one place back."""
        with self._lock:
            self.taken -= 1
            self._discount(client)

    def _count(self, client: str | None, limit: int) -> bool:
        if client is None:
            return True
        taken = self._clients.get(client, 0)
        if taken >= limit:
            return False
        self._clients[client] = taken + 1
        return True

    def _discount(self, client: str | None) -> None:
        if client is not None:
            left = self._clients[client] - 1
            if left:
                self._clients[client] = left
            else:
                del self._clients[client]


PROCESS = Budget()
"""Of this process: its threads are shared by all kits in it."""
