"""The messages of a queue or a stream, and their acknowledgements: the broker sends a bounded number ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pika.channel import Channel

    from .connection import Connection, Step

    Take = Callable[[Any, bytes], None]

INBOX_PREFETCH, STREAM_PREFETCH = 200, 400


class Feed:
    """One consumer on a channel of its own; `take` is called with the properties and the body of each message."""

    def __init__(self, channel: Channel, prefetch: int, take: Take) -> None:
        self._channel, self._take = channel, take
        self._step = prefetch // 4
        self._tag = ""
        self._count = 0
        self._ended = False

    @classmethod
    def of_queue(cls, connection: Connection, take: Take) -> Generator[Step, Any, Feed]:
        """Open a channel for a queue; no message arrives before `begin`."""
        channel = yield from connection.open_channel(INBOX_PREFETCH)
        return cls(channel, INBOX_PREFETCH, take)

    @classmethod
    def of_stream(cls, connection: Connection, stream: str, offset: object, take: Take) -> Generator[Step, Any, Feed]:
        """Read a stream from there on."""
        channel = yield from connection.open_channel(STREAM_PREFETCH)
        feed = cls(channel, STREAM_PREFETCH, take)
        yield from feed.begin(stream, {"x-stream-offset": offset})
        return feed

    @property
    def channel(self) -> Channel:
        """The channel, on which the queue is made."""
        return self._channel

    def begin(self, queue: str, arguments: dict[str, Any] | None = None) -> Generator[Step, Any, None]:
        """Begin to receive messages."""
        answer = yield lambda done: self._channel.basic_consume(
            queue, self._arrived, arguments=arguments, callback=done
        )
        self._tag = answer.method.consumer_tag

    def _arrived(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        if self._ended:
            return
        # Several at a time, but soon: the broker stops sending when the whole prefetch is unacknowledged.
        self._count += 1
        if self._count >= self._step:
            self._count = 0
            channel.basic_ack(method.delivery_tag, multiple=True)
        self._take(properties, body)

    def end(self) -> None:
        """Read no further."""
        if not self._ended and self._channel.is_open:
            self._channel.close()
        self._ended = True
