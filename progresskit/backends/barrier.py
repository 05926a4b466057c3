"""Lets callers wait until this process has received all messages sent before their call; calls share a message."""

from __future__ import annotations

from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Barrier:
    """
    Sends one message at a time to this process itself; callers that arrive meanwhile share the next one.

    `send` sends it, and returns when it has come back; it raises an error by the deadline it is given, a time of the
    monotonic clock. One caller of those that wait sends the message; where that fails, the others try by themselves.
    """

    def __init__(self, send: Callable[[float], object]) -> None:
        self._send = send
        self._changed = Condition()
        self._sent = self._returned = 0
        self._is_sending = False

    def wait(self, deadline: float) -> None:
        """Return when all that was sent before this call has been received; raises the error of `send`."""
        number = 0
        returned = False
        try:
            with self._changed:
                needed = self._sent + 1
                self._changed.wait_for(lambda: self._returned >= needed or not self._is_sending)
                if self._returned >= needed:
                    return
                number = self._sent = self._sent + 1
                self._is_sending = True
            self._send(deadline)
            returned = True
        finally:
            if number:
                with self._changed:
                    self._is_sending = False
                    self._returned = number if returned else self._returned
                    self._changed.notify_all()
