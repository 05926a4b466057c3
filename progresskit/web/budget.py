"""How many streams and long polls the process holds."""

from __future__ import annotations

from threading import Lock


class Budget:
    """Counts places; each that was taken has to be given back once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.taken = 0

    def take(self, limit: int) -> bool:
        """Take a place and return True, unless so many are taken."""
        with self._lock:
            if self.taken >= limit:
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        """Give one place back."""
        with self._lock:
            self.taken -= 1


PROCESS = Budget()
"""Of this process: its threads are shared by all kits in it."""
