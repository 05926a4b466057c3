"""
The exchanges, streams and queues in the broker, under names that begin with the prefix; first use creates them.

    exchange .journal (fanout)  ──► stream .journal     starts, ends, retries, external updates, cancel requests
                                ──► exchange .live
    exchange .keyframes (fanout) ─► stream .keyframes   each live job every few seconds, for later processes
                                ──► exchange .live
    exchange .live (fanout)     ──► queue .inbox.…      of each process that views; other updates go here only
    exchange .clock (fanout)    ──► queue .clock        gives the time: a message expires in it at once, and returns by
    exchange .private (direct)  ──► queue .inbox.…      this one to its sender
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pika.exceptions import ChannelClosedByBroker

if TYPE_CHECKING:
    from collections.abc import Generator

    from pika.channel import Channel

    from .connection import Connection, Step

MISMATCH = 406
"""The broker's answer when a queue exists with other arguments."""

SEGMENTS = 16
"""How many files a stream has at least: the oldest is deleted as a whole."""

KEYFRAMES_AGE = "10m"
KEYFRAMES_BYTES = 64 << 20
INBOX_MESSAGES = 10_000
INBOX_BYTES = 32 << 20
"""A viewer that is slower than that loses the oldest updates, of which there are newer ones."""


class Names(NamedTuple):
    """The names of exchanges, streams and queues; `inbox` is a prefix of names."""

    journal: str
    keyframes: str
    live: str
    clock: str
    private: str
    inbox: str

    @classmethod
    def of(cls, prefix: str) -> Names:
        """Return the names of a prefix."""
        return cls(*(f"{prefix}.{name}" for name in cls._fields))


class Size(NamedTuple):
    """How long the journal is kept, in seconds, and how large it may grow."""

    seconds: float
    bytes: int


def declare(connection: Connection, names: Names, size: Size, inbox: str) -> Generator[Step, Any, None]:
    """Create all, and the queue of this connection, which is deleted with it; a stream that exists stays as it was."""
    channel: Channel = yield from connection.open_channel()
    for exchange in (names.journal, names.keyframes, names.live, names.clock):
        yield _exchange(channel, exchange, "fanout")
    yield _exchange(channel, names.private, "direct")
    # No interval here but a part of it would be too long: a stream is cut by whole segments only.
    segment = max(size.bytes // SEGMENTS, 1 << 16)
    journal = _stream(f"{max(int(size.seconds), 1)}s", size.bytes, segment)
    keyframes = _stream(KEYFRAMES_AGE, KEYFRAMES_BYTES, KEYFRAMES_BYTES // SEGMENTS)
    clock = {"x-message-ttl": 0, "x-dead-letter-exchange": names.private, "x-max-length": 10_000}
    for queue, arguments in ((names.journal, journal), (names.keyframes, keyframes), (names.clock, clock)):
        try:
            yield _queue(channel, queue, arguments)
        except ChannelClosedByBroker as error:
            if error.reply_code != MISMATCH or "inequivalent arg" not in error.reply_text:
                raise
            channel = yield from connection.open_channel()
        yield bind(channel, queue, queue)
    for source in (names.journal, names.keyframes):
        yield lambda done, source=source: channel.exchange_bind(names.live, source, callback=done)  # type: ignore[misc]
    bounds = {"x-max-length": INBOX_MESSAGES, "x-max-length-bytes": INBOX_BYTES}
    yield lambda done: channel.queue_declare(inbox, exclusive=True, arguments=bounds, callback=done)
    yield bind(channel, inbox, names.private)
    yield lambda done: (channel.add_on_close_callback(lambda *_: done(None)), channel.close())


def _exchange(channel: Channel, name: str, kind: str) -> Step:
    return lambda done: channel.exchange_declare(name, kind, durable=True, callback=done)


def _stream(age: str, size: int, segment: int) -> dict[str, Any]:
    return {
        "x-queue-type": "stream",
        "x-max-age": age,
        "x-max-length-bytes": size,
        "x-stream-max-segment-size-bytes": segment,
    }


def _queue(channel: Channel, name: str, arguments: dict[str, Any]) -> Step:
    return lambda done: channel.queue_declare(name, durable=True, arguments=arguments, callback=done)


def bind(channel: Channel, queue: str, exchange: str) -> Step:
    """Have a queue receive what is sent to an exchange; what is sent to the direct one, by the name of the queue."""
    return lambda done: channel.queue_bind(queue, exchange, routing_key=queue, callback=done)
