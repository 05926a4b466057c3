"""
The two connections of a process: one that receives, in one thread only, and one that sends, for all threads.

Kombu's connections are not thread-safe, and the receiving one may be waiting when a thread has to send.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import count
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kombu import messaging
from kombu.entity import Exchange, Queue

from progresskit.errors import BackendError, BackendUnavailable

from .address import CALL_SECONDS, HEARTBEAT_SECONDS
from .messages import Act, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


Key = tuple[str, int]
"""The sender and the number of a message."""


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
    """The connection that sends, in the order of the messages' numbers; any thread may use it."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._lock = Lock()
        self._connection: Connection | None = None
        self._producer: messaging.Producer | None = None
        self._rename()

    def _rename(self) -> None:
        self.name, self._messages, self._pings = uuid4().hex, count(1), count(1)

    def send(self, act: Act, content: Any, prepare: Callable[[Key], None]) -> Key:
        """
        Send a message to all, or a ping to the queue of this process alone, where the transport can.

        `prepare` is called with its key before that, and raises if it must not be sent.
        """
        with self._locked(CALL_SECONDS) as is_locked:
            if not is_locked:
                raise BackendUnavailable(f"{self._topology.address}: the broker takes no messages")
            is_ping = act is Act.PING
            key = self.name, -next(self._pings) if is_ping else next(self._messages)
            try:
                prepare(key)
                body = Message(*key, act, content).pack()
                self._send(body, is_ping and self._topology.address.driver in DIRECT)
            except BaseException as error:
                # The number that was not sent is a gap, because of which all others would request snapshots.
                self._rename()
                if isinstance(error, BackendError) or not isinstance(error, Exception):
                    raise
                raise BackendUnavailable(f"{self._topology.address}: {str(error) or type(error).__name__}") from error
        return key

    @contextmanager
    def _locked(self, seconds: float) -> Iterator[bool]:
        """Hold the lock; False where another thread holds it for so long."""
        is_locked = self._lock.acquire(timeout=seconds)
        try:
            yield is_locked
        finally:
            if is_locked:
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
        with self._locked(CALL_SECONDS) as is_locked:
            if is_locked:
                self._rename()  # what was sent before may still come back
                self._drop()

    def close(self) -> None:
        """Close the connection."""
        with self._locked(GOODBYE_SECONDS) as is_locked:
            if is_locked:
                _close(self._topology.address, self._connection)
                self._connection = self._producer = None

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
