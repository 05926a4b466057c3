"""
Subscriptions to channels of servers that speak the protocol of Redis.

A `ChannelSubscription` subscribes to one channel a job, whichever servers of a cluster the channels are on; for each of
these servers a `Subscriber` keeps one connection, which its thread alone reads and writes: TLS allows no other. Other
threads leave their requests in sets, and wake it.
"""

from __future__ import annotations

import os
from collections import Counter
from logging import getLogger
from selectors import EVENT_READ, DefaultSelector
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from progresskit.abc import Subscription
from progresskit.errors import BackendUnavailable

from .reconnecting import ReconnectingThread
from .replies import ReplyReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from progresskit.errors import BackendError

    Messages = dict[bytes, bytes]

PING_SECONDS = 15.0
"""A connection without a message for this long is checked with a PING."""

ANSWER_SECONDS = 5.0
"""How long an answer is waited for."""

RESP3_OPTIONS = ("maint_notifications", "oss_cluster_maint", "maintenance_", "orig_")
"""How the options begin that a client of RESP 3 gives its connections, and that one of RESP 2 refuses."""


class ChannelServer(Protocol):
    """
    Where the channels are: one server, or a cluster.

    Connections are those of redis-py or valkey-py, with RESP 2, and not connected yet.
    """

    clustered: bool
    """True where each channel is on one of several servers."""

    def place(self, channel: bytes) -> Hashable:
        """Return which server a channel is on; the same value for all channels of a server."""

    def connection(self, place: Hashable) -> Any:
        """Return a new connection to that server, which is not in a pool."""

    def refresh(self) -> None:
        """Find out again which server is where."""

    def translated(self, error: Exception) -> BackendError:
        """Return the kit's error for one of the client library."""


def new_connection(client: Any) -> Any:
    """Return a connection like those of a client's pool, but not of it: its limit is for the client's own calls."""
    pool = client.connection_pool
    options = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith(RESP3_OPTIONS)}
    return pool.connection_class(**options | {"protocol": 2})


class ChannelSubscription(Subscription):
    """
    Subscribes to one channel a job.

    `channel` returns the channel of a job. `on_messages` is called with the newest message of each job, by id, `on_gap`
    when some may have been missed and the subscription works again; both from other threads. `on_close` is called with
    the subscription at its end.
    """

    def __init__(
        self,
        server: ChannelServer,
        channel: Callable[[str], bytes],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
        on_close: Callable[[ChannelSubscription], None],
    ) -> None:
        self._server, self._channel = server, channel
        self._on_messages, self._on_gap, self._on_close = on_messages, on_gap, on_close
        self._lock = Lock()
        self._subscribers: dict[Hashable, Subscriber] = {}
        self._by_channel: dict[bytes, Subscriber] = {}
        self._ids: dict[bytes, str] = {}
        self._closed = False
        self._pid = os.getpid()

    def add(self, ids: Collection[str]) -> None:
        """Subscribe to these as well; returns when the servers have confirmed it, raises BackendError otherwise."""
        channels_of = {self._channel(id): id for id in ids}
        known = {channel: self._by_channel.get(channel) for channel in channels_of}
        places = {channel: at.place if at else self._server.place(channel) for channel, at in known.items()}
        pending = []
        with self._lock:
            if self._closed:
                return
            self._ids |= channels_of
            for subscriber, channels in self._divided(places):
                pending.append((subscriber, channels, subscriber.add(channels)))
        for subscriber, channels, failures in pending:
            subscriber.wait_subscribed(channels, failures)

    def _divided(self, places: dict[bytes, Hashable]) -> list[tuple[Subscriber, list[bytes]]]:
        """Return the subscriber of each channel: the one that has it already, else that of its place."""
        parts: dict[Subscriber, list[bytes]] = {}
        for channel, place in places.items():
            if place not in self._subscribers:
                self._subscribers[place] = Subscriber(
                    self._server, place, self._pass_on, self._on_gap, self._move_channels
                )
            subscriber = self._by_channel.setdefault(channel, self._subscribers[place])
            parts.setdefault(subscriber, []).append(channel)
        return [*parts.items()]

    def remove(self, ids: Collection[str]) -> None:
        """Unsubscribe from these."""
        parts: dict[Subscriber, list[bytes]] = {}
        with self._lock:
            for channel in map(self._channel, ids):
                self._ids.pop(channel, None)
                subscriber = self._by_channel.pop(channel, None)
                if subscriber is not None:
                    parts.setdefault(subscriber, []).append(channel)
            for subscriber, channels in parts.items():
                subscriber.remove(channels)

    def _pass_on(self, messages: Messages) -> None:
        ids = self._ids
        self._on_messages({id: text for channel, text in messages.items() if (id := ids.get(channel)) is not None})

    def _move_channels(self, subscriber: Subscriber) -> None:
        """After a failure in a cluster, subscribe elsewhere to the channels of slots that have moved."""
        if not self._server.clustered:
            return
        self._server.refresh()
        places = {channel: self._server.place(channel) for channel in subscriber.channels}
        moved = {channel: place for channel, place in places.items() if place != subscriber.place}
        with self._lock:
            moved = {channel: place for channel, place in moved.items() if self._by_channel.get(channel) is subscriber}
            for channel in moved:
                del self._by_channel[channel]
            subscriber.remove(moved)
            if self._closed:
                return
            for other, channels in self._divided(moved):
                other.add(channels, gap=True)
            if not subscriber.channels:
                self._subscribers.pop(subscriber.place, None)
                subscriber.close()

    def close(self) -> None:
        """End all threads and connections."""
        if self._pid != os.getpid():
            return  # they are the parent's
        with self._lock:
            self._closed = True
            subscribers = [*self._subscribers.values()]
        for subscriber in subscribers:
            subscriber.close()
        self._on_close(self)


class Subscriber(ReconnectingThread):
    """
    The subscriptions on one server.

    `on_failure` is called in the thread after each failed connection, before the next.
    """

    def __init__(
        self,
        server: ChannelServer,
        place: Hashable,
        on_messages: Callable[[Messages], None],
        on_gap: Callable[[], None],
        on_failure: Callable[[Subscriber], None],
    ) -> None:
        super().__init__("progresskit-subscriber")
        self.place = place
        self._server, self._on_messages, self._on_gap, self._on_failure = server, on_messages, on_gap, on_failure
        self._sharded = server.clustered
        self._wanted: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._joining: set[bytes] = set()  # to be subscribed to
        self._leaving: set[bytes] = set()  # to be unsubscribed from
        self._gaps: set[bytes] = set()  # messages may have been missed until all of these are confirmed
        self.start()

    # Called by other threads.

    def add(self, channels: Collection[bytes], *, gap: bool = False) -> int:
        """Subscribe to these as well; return `failures`. With `gap`, `on_gap` is called once that is confirmed."""
        with self.changed:
            fresh = self._wanted.symmetric_difference(channels).intersection(channels)
            self._wanted |= fresh
            self._joining |= fresh
            self._leaving -= fresh
            if gap:
                self._gaps |= fresh
            self.hurry()
            self.interrupt()
            return self.failures

    def wait_subscribed(self, channels: Collection[bytes], failures: int) -> None:
        """Return when these are confirmed; raise BackendError if a connection fails meanwhile, or it takes too long."""
        awaited = frozenset(channels)
        with self.changed:
            if self.wait(lambda: awaited <= self._confirmed, failures, ANSWER_SECONDS):
                return
            error = self.error if self.failures > failures else None
        raise self._server.translated(error or TimeoutError("the subscription is not confirmed")) from error

    def remove(self, channels: Collection[bytes]) -> None:
        """Unsubscribe from these."""
        with self.changed:
            gone = self._wanted.intersection(channels)
            self._wanted -= gone
            self._confirmed -= gone
            self._leaving |= gone - self._joining
            self._joining -= gone
            self._gaps -= gone
            self.interrupt()

    @property
    def channels(self) -> set[bytes]:
        """The channels that are subscribed to, or are to be."""
        with self.changed:
            return self._wanted.copy()

    # The thread.

    def serve(self) -> None:
        """Subscribe to all channels on a new connection, and pass messages on."""
        connection = self._server.connection(self.place)
        try:
            connection.connect()
            with self.changed:
                self._joining, self._leaving = self._wanted.copy(), set()
                if self.failures:
                    self._gaps = self._wanted.copy()
            with DefaultSelector() as selector:
                # No public name leads to the socket, and one has to wait for two things at once. The client library
                # has read all that the server has sent until now, so that the messages can be read without it.
                selector.register(connection._sock, EVENT_READ)
                assert self.waker is not None
                selector.register(self.waker, EVENT_READ)
                Session(connection, self._sharded).run(self, selector, ReplyReader(connection._sock))
        except Exception as error:
            if not (self._sharded and "unknown command" in str(error).lower()):
                raise
            self._sharded = False  # a server before Redis 7 has only channels that all nodes of a cluster share
        finally:
            connection.disconnect()

    def failed(self, error: Exception) -> None:
        """Let the subscription find out where the channels are now."""
        with self.changed:
            self._confirmed.clear()
        super().failed(error)
        try:
            self._on_failure(self)
        except Exception as later:
            getLogger("progresskit").debug("It is not known where channels are now: %s", later)

    def changes(self) -> tuple[set[bytes], set[bytes]] | None:
        """Return the channels to subscribe to and to unsubscribe from since the last call; None once closed."""
        assert self.waker is not None
        self.waker.clear()
        with self.changed:
            if self.closed:
                return None
            joining, self._joining = self._joining, set()
            leaving, self._leaving = self._leaving, set()
            return joining, leaving

    @property
    def is_idle(self) -> bool:
        """True while there is no channel to subscribe to."""
        return not self._wanted

    def confirm(self, channels: Collection[bytes]) -> None:
        """Note that the server has confirmed these."""
        with self.changed:
            self._confirmed |= self._wanted.intersection(channels)
            complete = bool(self._gaps) and self._gaps <= self._confirmed
            if complete:
                self._gaps.clear()
            self.connected()
        if complete:
            _call(self._on_gap)

    def pass_on(self, messages: Messages) -> None:
        """Pass on the messages of channels that are still wanted."""
        with self.changed:
            wanted = {} if self.closed else {key: text for key, text in messages.items() if key in self._wanted}
        if wanted:
            _call(lambda: self._on_messages(wanted))


class Session:
    """One connection, while it works."""

    def __init__(self, connection: Any, sharded: bool) -> None:
        self._connection = connection
        self._subscribe, self._unsubscribe = (
            (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else (b"SUBSCRIBE", b"UNSUBSCRIBE")
        )
        self._sharded = sharded
        # How many answers are due: the answer to an earlier subscription, ended since, is no confirmation.
        self._joining: Counter[bytes] = Counter()
        self._leaving: Counter[bytes] = Counter()
        self._read_at = monotonic()
        self._asked_at: float | None = None  # since when an answer is due

    def run(self, subscriber: Subscriber, selector: DefaultSelector, reader: ReplyReader) -> None:
        """Send the requests of the subscriber, and read messages, until it is closed."""
        while (changes := subscriber.changes()) is not None:
            self.send(*changes)
            while self._receive(subscriber, reader):
                pass
            selector.select(self._timeout(subscriber))

    def send(self, joining: set[bytes], leaving: set[bytes]) -> None:
        """Subscribe and unsubscribe."""
        self._joining.update(joining)
        self._leaving.update(leaving)
        for verb, channels in ((self._unsubscribe, leaving), (self._subscribe, joining)):
            # Those of one command have to be in one slot.
            groups = [[channel] for channel in channels] if self._sharded else [[*channels]] if channels else []
            if groups:
                commands = [(verb, *group) for group in groups]
                # The library would wait for the answer to a PING of its own, and take a message for that.
                self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
                self._expect_answer()

    def _expect_answer(self) -> None:
        if self._asked_at is None:
            self._asked_at = monotonic()

    def _timeout(self, subscriber: Subscriber) -> float | None:
        """Return how long to wait for the server; send a PING if no message came for long."""
        now = monotonic()
        if self._asked_at is None and subscriber.is_idle:
            return None
        if self._asked_at is None and now >= self._read_at + PING_SECONDS:
            self._connection.send_command(b"PING", check_health=False)
            self._expect_answer()
        if self._asked_at is None:
            return self._read_at + PING_SECONDS - now
        if now >= self._asked_at + ANSWER_SECONDS:
            raise TimeoutError("the server does not answer")
        return self._asked_at + ANSWER_SECONDS - now

    def _receive(self, subscriber: Subscriber, reader: ReplyReader) -> bool:
        """Read messages and pass them on; return False once there are no more."""
        messages: Messages = {}
        joined: list[bytes] = []
        others, may_have_more = reader.read(messages)
        for answer in others:
            self.take(answer, messages, joined)
        if messages or others:
            self._read_at = monotonic()
        if joined:
            subscriber.confirm(joined)
        if messages:
            subscriber.pass_on(messages)
        return may_have_more

    def take(self, answer: Any, messages: Messages, joined: list[bytes]) -> None:
        """Sort an answer of the server: a message, or a confirmation."""
        kind = answer[0] if isinstance(answer, list) else b"pong"
        if kind in {b"message", b"smessage"}:
            messages[answer[1]] = answer[2]
            return
        self._asked_at = None
        if kind in {b"subscribe", b"ssubscribe"}:
            if _is_last(self._joining, answer[1]):
                joined.append(answer[1])
        elif kind in {b"unsubscribe", b"sunsubscribe"}:
            if not self._leaving[answer[1]]:
                raise BackendUnavailable("the server has ended the subscription: its slot has moved")
            _is_last(self._leaving, answer[1])


def _is_last(due: Counter[bytes], channel: bytes) -> bool:
    """Count an answer; return whether no other is due for the channel."""
    due[channel] -= 1
    if due[channel]:
        return False
    del due[channel]  # else every channel that was ever subscribed to would be remembered
    return True


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        getLogger("progresskit").exception("Unexpected error in a subscriber's callback; the subscription continues")
