"""Numbers the messages of a process, so that receivers notice when one is missing."""

from __future__ import annotations

from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .messages import Act, Message, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Producer

Key = tuple[str, int]
"""The sender and the number of a message."""


class Sender:
    """Sends messages in the order of their numbers."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._lock = Lock()
        self._rename()

    def _rename(self) -> None:
        self._name, self._messages, self._pings = uuid4().hex, count(1), count(1)

    def send(self, act: Act, content: Any, prepare: Callable[[Key], None]) -> Key:
        """Send a message; `prepare` is called with its key before that, and raises if it must not be sent."""
        with self._lock:
            key = self._name, -next(self._pings) if act is Act.PING else next(self._messages)
            try:
                prepare(key)
                self._producer.send(encode(Message(*key, act, content)), privately=act is Act.PING)
            except BaseException:
                # The number that was not sent is a gap, because of which all others would request snapshots.
                self._rename()
                raise
        return key
