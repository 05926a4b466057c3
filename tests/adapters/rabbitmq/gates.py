"""Gates before the streams of the broker: what is read of one waits there, as in a long stream."""

from __future__ import annotations

from threading import RLock
from typing import Any


class Gate:
    """Keeps the messages of a stream until it is opened, or they are let through one by one; shut at first."""

    def __init__(self) -> None:
        self.kept = list[Any]()
        self._is_open, self._lock = False, RLock()

    def take(self, take: Any, *message: Any) -> None:
        with self._lock:
            self.kept.append((take, message))
            while self._is_open and self.kept:
                self.pass_one()

    def pass_one(self) -> None:
        with self._lock:
            take, message = self.kept.pop(0)
            take(*message)

    def open(self) -> None:
        """Let what is kept through with the next message."""
        self._is_open = True

    def shut(self) -> None:
        self._is_open = False
