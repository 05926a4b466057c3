"""
The two connections of a process: one that hears, in one thread only, and one that speaks, for all.

Kombu's connections are not thread-safe, and one that hears may be waiting when somebody has to speak.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from contextlib import suppress
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer

from progresskit.errors import BackendUnavailable

from .address import CALL_SECONDS, HEARTBEAT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.connection import Connection

    from .address import Address

POLL_SECONDS = 0.02
"""How often a transport that tells nobody is looked at."""

QUEUE_MESSAGES = 10_000
QUEUE_BYTES = 64 * 1024 * 1024
"""The most that waits in a broker for a process that does not listen; then the oldest are dropped, where it can."""

QUEUE_SECONDS = 300.0
"""How long a broker keeps what belongs to a process that has gone without a word, where it can know."""

GOODBYE_SECONDS = 1.0

PROMPT_SECONDS = 0.5
"""Only what fails at once is worth another try in the same call."""

TO_A_QUEUE = frozenset(("amqp", "memory"))
"""Drivers whose queues with fanout can also be written to one by one, so that nobody else hears it."""


class Road:
    """What both connections have in common: an exchange that all processes share, and a queue of one's own."""

    def __init__(self, address: Address, prefix: str) -> None:
        self.address = address
        # Some transports make a pattern of it, or a name in which a colon has a meaning.
        self.exchange = Exchange(f"{prefix.replace(':', '..')}.kombu", type="fanout", durable=False)
        self.renew()

    def renew(self) -> None:
        """Take a fresh queue: the broker may not have noticed yet that the connection of the last one is gone."""
        amqp = self.address.driver == "amqp"
        self.queue = Queue(
            f"{self.exchange.name}.{uuid4().hex}",
            self.exchange,
            durable=False,
            exclusive=amqp,
            auto_delete=amqp,
            expires=None if amqp else QUEUE_SECONDS,
            max_length=QUEUE_MESSAGES,
            max_length_bytes=QUEUE_BYTES,
        )


class Ear:
    """The connection that hears; it belongs to one thread."""

    def __init__(self, road: Road, heard: Callable[[str | bytes], None]) -> None:
        self._road, self._heard = road, heard
        self._connection: Connection | None = None
        self.news = Event()
        """Set by others of this process when they have said something, or want the thread to look around."""

    def open(self) -> None:
        """Connect, and take part in what is said from now on."""
        if self._road.address.driver == "amqp":
            self._road.renew()
        self._connection = connection = self._road.address.connect(HEARTBEAT_SECONDS)
        channel = connection.channel()
        Consumer(channel, [self._road.queue], on_message=self._took, no_ack=True).consume()

    def _took(self, message: Any) -> None:
        self._heard(message.body)

    def drain(self, seconds: float) -> None:
        """Wait so long for something to be said."""
        assert self._connection is not None
        polled = self._road.address.polled
        try:
            self._connection.drain_events(timeout=0 if polled else max(seconds, 0.001))
        except TimeoutError:
            if polled:
                self.news.wait(min(seconds, POLL_SECONDS))
        if polled:
            self.news.clear()
        else:
            self._connection.heartbeat_check()

    def leave(self, queue: Queue) -> None:
        """Remove a queue of one's own from where the transport would go on filling it for ever."""
        assert self._connection is not None
        channel: Any = self._connection.default_channel
        bound = queue(channel)
        if self._road.address.driver == "memory":
            # A queue that is deleted stays in its table of bindings, and is made anew by the next message.
            bound.unbind_from(self._road.exchange)
            channel.queues.pop(queue.name, None)
        bound.delete()

    def close(self) -> None:
        """Say goodbye."""
        with suppress(Exception):
            if self._connection is not None and self._road.address.driver != "amqp":
                self.leave(self._road.queue)
        _close(self._road.address, self._connection)
        self._connection = None

    def drop(self) -> None:
        """Let go of a connection that may be broken."""
        connection, self._connection = self._connection, None
        _drop(self._road.address, connection)


class Mouth:
    """The connection that speaks; any thread may use it."""

    def __init__(self, road: Road) -> None:
        self._road = road
        self._lock = Lock()
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def say(self, text: str, privately: bool = False) -> None:
        """Send a text to all; or privately to one's own queue, where the transport has a way."""
        if not self._lock.acquire(timeout=CALL_SECONDS):
            raise BackendUnavailable(f"{self._road.address}: the broker takes no messages")
        try:
            self._send(text, privately and self._road.address.driver in TO_A_QUEUE)
        except BackendUnavailable:
            raise
        except Exception as error:
            raise BackendUnavailable(f"{self._road.address}: {str(error) or type(error).__name__}") from error
        finally:
            self._lock.release()

    def _send(self, text: str, privately: bool) -> None:
        known, began = self._producer is not None, monotonic()
        try:
            self._publish(text, privately)
        except Exception:
            self._drop()
            if not known or monotonic() - began > PROMPT_SECONDS:
                raise
            try:
                self._publish(text, privately)  # the connection may have been closed while nobody spoke
            except Exception:
                self._drop()
                raise

    def _publish(self, text: str, privately: bool) -> None:
        if self._producer is None:
            self._connection = self._road.address.connect()
            self._producer = Producer(self._connection.channel(), self._road.exchange)
        self._producer.publish(
            text,
            exchange="" if privately else self._road.exchange,
            routing_key=self._road.queue.name if privately else "",
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode="transient",
        )

    def drop(self) -> None:
        """Let go of a connection that may be broken; the next one who speaks makes another."""
        if self._lock.acquire(timeout=CALL_SECONDS):
            try:
                self._drop()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Say goodbye."""
        if self._lock.acquire(timeout=GOODBYE_SECONDS):
            try:
                _close(self._road.address, self._connection)
                self._connection = self._producer = None
            finally:
                self._lock.release()

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        _drop(self._road.address, connection)


def _close(address: Address, connection: Connection | None) -> None:
    if connection is not None:
        try:
            address.limit(connection, GOODBYE_SECONDS)
            connection.release()
        except Exception:
            _drop(address, connection)


def _drop(address: Address, connection: Connection | None) -> None:
    if connection is not None:
        # For other drivers, and once it is released, it would change the default timeout of the whole process.
        if address.driver == "amqp":
            with suppress(Exception):
                connection.collect()
        with suppress(Exception):
            connection.release()
