"""
The two connections of a process: one that receives, in one thread only, and one that sends, for all threads.

Kombu's connections are not thread-safe, and the receiving one may be waiting when a thread has to send.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from contextlib import suppress
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kombu import messaging
from kombu.entity import Exchange, Queue

from progresskit.errors import BackendUnavailable

from .address import CALL_SECONDS, HEARTBEAT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.connection import Connection

    from .address import Address

POLL_SECONDS = 0.02
"""How often a transport that cannot wait for messages is asked for them."""

QUEUE_MESSAGES = 10_000
QUEUE_BYTES = 64 * 1024 * 1024
"""How much a broker keeps for a process that does not receive; then it drops the oldest messages, where it can."""

QUEUE_SECONDS = 300.0
"""How long a broker keeps the queue of a process that has ended without closing it, where it can know."""

GOODBYE_SECONDS = 1.0

PROMPT_SECONDS = 0.5
"""A message is sent a second time in the same call only if the first attempt failed at once."""

DIRECT = frozenset(("amqp", "memory"))
"""Drivers that can send a message to a single queue of a fanout exchange."""


class Topology:
    """The exchange that all processes share, and the queue of this one."""

    def __init__(self, address: Address, prefix: str) -> None:
        self.address = address
        # Some transports make a pattern of it, or a name in which a colon has a meaning.
        self.exchange = Exchange(f"{prefix.replace(':', '..')}.kombu", type="fanout", durable=False)
        self.renew()

    def renew(self) -> None:
        """Take a new queue: the broker may not have noticed yet that the connection of the last one is gone."""
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


class Consumer:
    """The connection that receives; it belongs to one thread, `wake` apart."""

    def __init__(self, topology: Topology, receive: Callable[[str | bytes], None]) -> None:
        self._topology, self._receive = topology, receive
        self._connection: Connection | None = None
        self._woken = Event()

    def open(self) -> None:
        """Connect, and receive all messages sent from now on."""
        if self._topology.address.driver == "amqp":
            self._topology.renew()
        self._connection = connection = self._topology.address.connect(HEARTBEAT_SECONDS)
        queues = [self._topology.queue]
        messaging.Consumer(connection.channel(), queues, on_message=self._take, no_ack=True).consume()

    def _take(self, message: Any) -> None:
        self._receive(message.body)

    def drain(self, seconds: float) -> None:
        """Wait for a message at most this long; where the transport has to be polled, only until `wake` is called."""
        assert self._connection is not None
        polled = self._topology.address.polled
        try:
            self._connection.drain_events(timeout=0 if polled else max(seconds, 0.001))
        except TimeoutError:
            if polled:
                self._woken.wait(min(seconds, POLL_SECONDS))
        if polled:
            self._woken.clear()
        else:
            self._connection.heartbeat_check()

    def wake(self) -> None:
        """End the wait between two polls; any thread may call this."""
        self._woken.set()

    def remove(self, queue: Queue) -> None:
        """Remove a queue of this process where the transport would go on filling it indefinitely."""
        assert self._connection is not None
        channel: Any = self._connection.default_channel
        bound = queue(channel)
        if self._topology.address.driver == "memory":
            # A deleted queue stays in the transport's table of bindings, and the next message makes it again.
            bound.unbind_from(self._topology.exchange)
            channel.queues.pop(queue.name, None)
        bound.delete()

    def close(self) -> None:
        """Close the connection and remove the queue."""
        with suppress(Exception):
            if self._connection is not None and self._topology.address.driver != "amqp":
                self.remove(self._topology.queue)
        _close(self._topology.address, self._connection)
        self._connection = None

    def drop(self) -> None:
        """Abandon a connection that may be broken."""
        connection, self._connection = self._connection, None
        _drop(self._topology.address, connection)


class Producer:
    """The connection that sends; any thread may use it."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._lock = Lock()
        self._connection: Connection | None = None
        self._producer: messaging.Producer | None = None

    def send(self, body: bytes, privately: bool = False) -> None:
        """Send a message to all; or `privately` to the queue of this process alone, where the transport can."""
        if not self._lock.acquire(timeout=CALL_SECONDS):
            raise BackendUnavailable(f"{self._topology.address}: the broker takes no messages")
        try:
            self._send(body, privately and self._topology.address.driver in DIRECT)
        except BackendUnavailable:
            raise
        except Exception as error:
            raise BackendUnavailable(f"{self._topology.address}: {str(error) or type(error).__name__}") from error
        finally:
            self._lock.release()

    def _send(self, body: bytes, privately: bool) -> None:
        known, began = self._producer is not None, monotonic()
        try:
            self._publish(body, privately)
        except Exception:
            self._drop()
            if not known or monotonic() - began > PROMPT_SECONDS:
                raise
            try:
                self._publish(body, privately)  # the broker may have closed the connection while it was idle
            except Exception:
                self._drop()
                raise

    def _publish(self, body: bytes, privately: bool) -> None:
        if self._producer is None:
            self._connection = self._topology.address.connect()
            self._producer = messaging.Producer(self._connection.channel(), self._topology.exchange)
        self._producer.publish(
            body,
            exchange="" if privately else self._topology.exchange,
            routing_key=self._topology.queue.name if privately else "",
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode="transient",
        )

    def drop(self) -> None:
        """Abandon a connection that may be broken; the next message is sent by another one."""
        if self._lock.acquire(timeout=CALL_SECONDS):
            try:
                self._drop()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the connection."""
        if self._lock.acquire(timeout=GOODBYE_SECONDS):
            try:
                _close(self._topology.address, self._connection)
                self._connection = self._producer = None
            finally:
                self._lock.release()

    def _drop(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        _drop(self._topology.address, connection)


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
