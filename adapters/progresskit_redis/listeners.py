"""
Subscriptions to channels.

All subscriptions of a backend share one connection to each server that one of their channels is on. Its thread alone
reads and writes it: TLS allows no other. Other threads note which channels they want, and wake it.
"""

from __future__ import annotations

import os
from logging import getLogger
from selectors import EVENT_READ, DefaultSelector
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from progresskit.abc import Subscription
from progresskit.backends import ReconnectingThread
from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from .server import Server

    Messages = dict[bytes, bytes]

PING_SECONDS = 15.0
"""A connection without a message for this long is checked with a PING."""

ANSWER_SECONDS = 5.0
"""How long an answer is waited for."""

AT_ONCE = 1_000
"""How many messages are read before they are passed on: of each channel, only the last of them."""


class ChannelSubscription(Subscription):
    """
    Subscribes to one channel a job, which `channel` returns.

    `on_messages` is called with the newest message of each job, by id, `on_gap` when some may have been missed and the
    subscription works again; both from other threads.
    """

    def __init__(
        self,
        listeners: Listeners,
        channel: Callable[[str], bytes],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._listeners, self._channel, self._on_messages = listeners, channel, on_messages
        self.on_gap = on_gap
        self.ids: dict[bytes, str] = {}

    def add(self, ids: Collection[str]) -> None:
        """Subscribe to these as well; returns when the servers have confirmed it, raises BackendError otherwise."""
        self._listeners.add(self, {self._channel(id): id for id in ids})

    def remove(self, ids: Collection[str]) -> None:
        """Unsubscribe from these."""
        self._listeners.remove(self, [self._channel(id) for id in ids])

    def receive(self, messages: Messages) -> None:
        """Pass on the messages that are for this one."""
        wanted = {id: text for channel, text in messages.items() if (id := self.ids.get(channel)) is not None}
        if wanted:
            self._on_messages(wanted)

    def close(self) -> None:
        """Unsubscribe from all."""
        self._listeners.drop(self)


class Listeners:
    """The subscriptions of a backend, and the connections to the servers of their channels."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lock = Lock()
        self._subscriptions: list[ChannelSubscription] = []
        self._listeners: dict[Hashable, Listener] = {}
        self._pid = os.getpid()

    def subscription(
        self,
        channel: Callable[[str], bytes],
        on_messages: Callable[[dict[str, bytes]], None],
        on_gap: Callable[[], None],
    ) -> ChannelSubscription:
        """Return a new subscription."""
        made = ChannelSubscription(self, channel, on_messages, on_gap)
        with self._lock:
            self._subscriptions = [*self._subscriptions, made]
        return made

    def add(self, subscription: ChannelSubscription, ids: dict[bytes, str]) -> None:
        """Subscribe to channels, and wait until that is confirmed."""
        with self._lock:
            if subscription not in self._subscriptions:
                return
            parts = {each: set(each.wanted.intersection(ids)) for each in self._listeners.values()}
            for channel in ids.keys() - set().union(*parts.values()):
                parts.setdefault(self._at(self.server.place(channel)), set()).add(channel)
            subscription.ids = subscription.ids | ids
            failures = {listener: listener.add(channels) for listener, channels in parts.items()}
        for listener, channels in parts.items():
            listener.wait_subscribed(channels, failures[listener])

    def _at(self, place: Hashable) -> Listener:
        listener = self._listeners.get(place)
        if listener is None:
            self._listeners[place] = listener = Listener(self, place)
            listener.start()
        return listener

    def remove(self, subscription: ChannelSubscription, channels: Collection[bytes]) -> None:
        """Unsubscribe from channels that no other subscription has."""
        with self._lock:
            subscription.ids = {channel: subscription.ids[channel] for channel in subscription.ids.keys() - channels}
            left = set(channels).difference(*(each.ids for each in self._subscriptions))
            for listener in self._listeners.values():
                listener.remove(left)

    def drop(self, subscription: ChannelSubscription) -> None:
        """End a subscription, and the connections that no other needs."""
        if self._pid != os.getpid():
            return  # it is the parent's
        self.remove(subscription, [*subscription.ids])
        with self._lock:
            self._subscriptions = [each for each in self._subscriptions if each is not subscription]
            idle = [self._listeners.pop(place) for place, each in [*self._listeners.items()] if not each.wanted]
        for listener in idle:
            listener.close()

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            subscription.close()

    # Called in the threads of the listeners.

    def pass_on(self, messages: Messages) -> None:
        """Pass messages on to their subscriptions."""
        for subscription in self._subscriptions:
            _call(subscription.receive, messages)

    def note_gap(self) -> None:
        """Tell all subscriptions that they may have missed messages."""
        for subscription in self._subscriptions:
            _call(subscription.on_gap)

    def move_channels(self, listener: Listener) -> None:
        """After a failure in a cluster, subscribe elsewhere to the channels of slots that have moved."""
        self.server.refresh()
        with self._lock:
            for channel in [*listener.wanted]:
                place = self.server.place(channel)
                if place != listener.place:
                    listener.remove([channel])
                    self._at(place).add([channel], gap=True)
            if not listener.wanted:
                self._listeners.pop(listener.place, None)
                listener.close()


def _call(callback: Callable[..., None], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        getLogger("progresskit").exception("Unexpected error in a subscriber's callback; the subscription continues")


class Listener(ReconnectingThread):
    """Listens on one connection to the channels of a server."""

    def __init__(self, listeners: Listeners, place: Hashable) -> None:
        super().__init__("progresskit-listener")
        self.place = place
        self.wanted: frozenset[bytes] = frozenset()
        self._listeners, self._server = listeners, listeners.server
        self._sharded = self._server.clustered
        self._sent: frozenset[bytes] = frozenset()
        self._confirmed: frozenset[bytes] = frozenset()
        self._gap = False

    # Called by other threads.

    def add(self, channels: Collection[bytes], *, gap: bool = False) -> int:
        """Subscribe to these as well; return `failures`. With `gap`, it is reported once that is confirmed."""
        with self.changed:
            self.wanted = self.wanted.union(channels)
            self._gap = self._gap or gap
            self.hurry()
            self.interrupt()
            return self.failures

    def wait_subscribed(self, channels: Collection[bytes], failures: int) -> None:
        """Return when these are confirmed; raise BackendError if a connection fails meanwhile, or it takes too long."""
        with self.changed:
            if self.wait(lambda: self._confirmed.issuperset(channels), failures, ANSWER_SECONDS):
                return
            error = self.error if self.failures > failures else None
        raise self._server.translated(error or TimeoutError("the subscription is not confirmed")) from error

    def remove(self, channels: Collection[bytes]) -> None:
        """Unsubscribe from these."""
        with self.changed:
            if not self.wanted.isdisjoint(channels):
                self.wanted = self.wanted.difference(channels)
                self.interrupt()

    # The thread.

    def serve(self) -> None:
        """Subscribe to all channels on a new connection, and pass messages on."""
        connection = self._server.connection(self.place)
        try:
            connection.connect()
            self._sent = frozenset()
            with DefaultSelector() as selector:
                # No public name leads to the socket, and one has to wait for two things at once.
                selector.register(connection._sock, EVENT_READ)
                assert self.waker is not None
                selector.register(self.waker, EVENT_READ)
                self._listen(Session(connection, sharded=self._sharded), selector)
        except Exception as error:
            if not (self._sharded and "unknown command" in str(error).lower()):
                raise
            self._sharded = False  # a server before Redis 7 has only channels that all nodes of a cluster share
        finally:
            connection.disconnect()

    def _listen(self, session: Session, selector: DefaultSelector) -> None:
        assert self.waker is not None
        while not self.closed:
            self.waker.clear()
            while not session.due and not self._is_settled:
                self._settle(session)
            messages, may_have_more = session.read()
            if messages:
                self._listeners.pass_on(messages)
            if not may_have_more and (session.due or self._is_settled):
                selector.select(session.seconds_left(is_idle=not self.wanted))

    @property
    def _is_settled(self) -> bool:
        return self.wanted is self._sent is self._confirmed

    def _settle(self, session: Session) -> None:
        """Note that all that was sent is confirmed, then send what has changed since."""
        with self.changed:
            wanted, sent = self.wanted, self._sent
            self._confirmed = sent if sent is wanted else sent & wanted
            self._sent = wanted
            is_gap_over = self._gap and sent is wanted
            self._gap = self._gap and not is_gap_over
            self.connected()
        if wanted != sent:
            session.send(wanted - sent, sent - wanted)
        if is_gap_over:
            self._listeners.note_gap()

    def failed(self, error: Exception) -> None:
        """Find out where the channels are now."""
        with self.changed:
            self._confirmed = frozenset()
            self._gap = True
        super().failed(error)
        if self._server.clustered:
            try:
                self._listeners.move_channels(self)
            except Exception as later:
                getLogger("progresskit").debug("It is not known where channels are now: %s", later)


class Session:
    """One connection, while it works."""

    def __init__(self, connection: Any, *, sharded: bool) -> None:
        self._connection, self._sharded = connection, sharded
        self._leaving: frozenset[bytes] = frozenset()
        self.due = 0
        """How many channels the server has yet to confirm."""
        self._read_at = monotonic()
        self._asked_at: float | None = None  # since when an answer is due

    def send(self, joining: frozenset[bytes], leaving: frozenset[bytes]) -> None:
        """Subscribe and unsubscribe; not while an answer is due, so that each is the answer to the last request."""
        verbs = ("SSUBSCRIBE", "SUNSUBSCRIBE") if self._sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
        commands: list[tuple[str | bytes, ...]] = []
        for verb, channels in zip(verbs, (joining, leaving), strict=True):
            # Those of one command have to be in one slot.
            groups = [[channel] for channel in channels] if self._sharded else [[*channels]] if channels else []
            commands += [(verb, *group) for group in groups]
        # With its health check, the library would wait for the answer to a PING, and take a message for that.
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        self.due, self._leaving, self._asked_at = len(joining) + len(leaving), leaving, monotonic()

    def read(self) -> tuple[Messages, bool]:
        """Read what has arrived; return the newest message of each channel, and whether there may be more."""
        messages: Messages = {}
        for _ in range(AT_ONCE):
            if not self._connection.can_read(0):
                return messages, False
            answer = self._connection.read_response(disable_decoding=True)
            self._read_at = monotonic()
            kind = answer[0] if isinstance(answer, list) else b"pong"
            if kind in {b"message", b"smessage"}:
                messages[answer[1]] = answer[2]
                continue
            self._asked_at = None if self.due <= 1 else self._read_at
            if kind in {b"unsubscribe", b"sunsubscribe"} and answer[1] not in self._leaving:
                raise BackendUnavailable("the server has ended the subscription: its slot has moved")
            if kind != b"pong":
                self.due -= 1
        return messages, True

    def seconds_left(self, *, is_idle: bool) -> float | None:
        """Return how long to wait for the server; send a PING if no message came for long."""
        now = monotonic()
        if self._asked_at is None and is_idle:
            return None
        if self._asked_at is None and now >= self._read_at + PING_SECONDS:
            self._connection.send_command("PING", check_health=False)
            self._asked_at = now
        if self._asked_at is None:
            return self._read_at + PING_SECONDS - now
        if now >= self._asked_at + ANSWER_SECONDS:
            raise TimeoutError("the server does not answer")
        return self._asked_at + ANSWER_SECONDS - now
