"""
A connection that listens to channels, and the thread that alone touches it.

Others say what they want in sets, and wake the thread through a pair of sockets; so nothing is read or written by two
threads at once, which TLS does not allow.
"""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import suppress
from random import uniform
from selectors import EVENT_READ, DefaultSelector
from threading import Condition, current_thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from progresskit import background
from progresskit.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable
    from logging import Logger

    from .server import Server

PING_SECONDS = 15.0
"""A connection that was silent for so long is asked whether it is still one."""

ANSWER_SECONDS = 5.0
"""How long an answer is waited for."""

RETRY_SECONDS = (0.1, 2.0)
"""The wait after a first failure, and the longest; it doubles from one to the other, and half of it is chance."""

CLOSE_SECONDS = 3.0

AT_ONCE = 1_000
"""So many messages are read before they are handed on: of a job, only the last of them."""


class Subscriber:
    """
    Listens to channels of one server, and connects again by itself.

    `take` is called with the newest message of each channel, `lost` when something may have been missed and listening
    works again, and `failed` with the subscriber after each failure, before the next try; all from the thread.
    """

    def __init__(
        self,
        server: Server,
        place: Hashable,
        take: Callable[[Collection[bytes]], None],
        lost: Callable[[], None],
        failed: Callable[[Subscriber], None],
    ) -> None:
        self.place = place
        self._server, self._take, self._lost, self._failed = server, take, lost, failed
        self._sharded = server.clustered
        self._changed = Condition()
        self._wanted: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._joining: set[bytes] = set()  # to be subscribed to
        self._leaving: set[bytes] = set()  # to be unsubscribed from
        self._owed: set[bytes] = set()  # once all of these are confirmed, something may have been missed
        self._failures = 0
        self._error: Exception | None = None
        self._hurry = self._closed = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._thread = background.start(self._run, "progresskit-redis", self.close)

    # What other threads call.

    def add(self, channels: Collection[bytes], *, owed: bool = False) -> int:
        """Listen to these as well; return what `wait` has to know. If `owed`, tell that something may be missed."""
        with self._changed:
            fresh = self._wanted.symmetric_difference(channels).intersection(channels)
            self._wanted |= fresh
            self._joining |= fresh
            self._leaving -= fresh
            if owed:
                self._owed |= fresh
            self._hurry = True
            self._wake()
            return self._failures

    def wait(self, channels: Collection[bytes], failures: int) -> None:
        """Return when these are listened to; raise if that fails, or takes too long."""
        awaited = frozenset(channels)
        with self._changed:
            over = self._changed.wait_for(
                lambda: self._closed or self._failures > failures or awaited <= self._confirmed, ANSWER_SECONDS
            )
            error = self._error
            if over and awaited <= self._confirmed:
                return
        if over and error is not None:
            raise self._server.failures.translated(error) from error
        raise BackendUnavailable(f"{self._server.failures.address}: listening is not confirmed")

    def remove(self, channels: Collection[bytes]) -> None:
        """Listen to these no longer."""
        with self._changed:
            gone = self._wanted.intersection(channels)
            self._wanted -= gone
            self._confirmed -= gone
            self._leaving |= gone - self._joining
            self._joining -= gone
            self._owed -= gone
            self._wake()

    @property
    def channels(self) -> set[bytes]:
        """What is to be listened to."""
        with self._changed:
            return self._wanted.copy()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._wake()
            self._changed.notify_all()
        if current_thread() is not self._thread:
            self._thread.join(CLOSE_SECONDS)

    def _wake(self) -> None:
        with suppress(OSError):  # it is closed, or it is full and will wake anyway
            self._waker.send(b"\0")

    # The thread.

    def _run(self) -> None:
        with self._waker, self._woken:
            while not self._closed:
                try:
                    self._session()
                except Exception as error:
                    if self._sharded and "unknown command" in str(error).lower():
                        self._sharded = False  # of before Redis 7: there are only channels that all nodes share
                        continue
                    self._fail(error)
                    self._pause()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failures += 1
            self._error = error
            self._confirmed.clear()
            self._hurry = False
            self._changed.notify_all()
        _log().debug("Listening to %s failed, it is tried again: %s", self._server.failures.address, error)
        try:
            self._failed(self)
        except Exception as later:
            _log().debug("It is not known where to listen: %s", later)

    def _pause(self) -> None:
        first, longest = RETRY_SECONDS
        delay = min(first * 2 ** min(self._tries, 16), longest)
        self._tries += 1
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._hurry, uniform(delay / 2, delay))

    _tries = 0
    """How often in a row it failed."""

    def _session(self) -> None:
        """Listen for as long as that works."""
        connection = self._server.connection(self.place)
        try:
            connection.connect()
            with self._changed:
                self._joining, self._leaving = self._wanted.copy(), set()
                if self._failures:
                    self._owed = self._wanted.copy()
            with DefaultSelector() as selector:
                # No public name leads to the socket, and one has to wait for two things at once.
                selector.register(connection._sock, EVENT_READ)
                selector.register(self._woken, EVENT_READ)
                _Session(connection, self._sharded).run(self, selector)
        finally:
            connection.disconnect()

    def changes(self) -> tuple[set[bytes], set[bytes]] | None:
        """Return what to subscribe to and to unsubscribe from since it was last asked; None after the end."""
        with suppress(BlockingIOError):
            self._woken.recv(4_096)
        with self._changed:
            if self._closed:
                return None
            joining, self._joining = self._joining, set()
            leaving, self._leaving = self._leaving, set()
            return joining, leaving

    def idle(self) -> bool:
        """Tell whether there is nothing to listen to."""
        return not self._wanted

    def confirmed(self, channels: Collection[bytes]) -> None:
        """Note that these are listened to from now on."""
        self._tries = 0
        with self._changed:
            self._confirmed |= self._wanted.intersection(channels)
            paid = bool(self._owed) and self._owed <= self._confirmed
            if paid:
                self._owed.clear()
            self._changed.notify_all()
        if paid:
            self._call(self._lost)

    def heard(self, messages: dict[bytes, bytes]) -> None:
        """Hand on what was said on channels that are still wanted."""
        with self._changed:
            taken = [] if self._closed else [text for channel, text in messages.items() if channel in self._wanted]
        if taken:
            self._call(lambda: self._take(taken))

    def _call(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:
            _log().exception("Whoever listens to Redis failed; listening goes on")


class _Session:
    """One connection, while it works."""

    def __init__(self, connection: Any, sharded: bool) -> None:
        self._connection = connection
        self._join, self._leave = (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else (b"SUBSCRIBE", b"UNSUBSCRIBE")
        self._sharded = sharded
        # Answers that are due; that to an earlier subscription, ended since, confirms nothing.
        self._joining: Counter[bytes] = Counter()
        self._parting: Counter[bytes] = Counter()
        self._heard = monotonic()
        self._asked: float | None = None  # since when an answer is due

    def run(self, subscriber: Subscriber, selector: DefaultSelector) -> None:
        """Send what is to be sent, and read what comes, until the end."""
        while (changes := subscriber.changes()) is not None:
            self._send(*changes)
            while self._receive(subscriber):
                pass
            selector.select(self._left(subscriber))

    def _send(self, joining: set[bytes], leaving: set[bytes]) -> None:
        self._joining.update(joining)
        self._parting.update(leaving)
        for verb, channels in ((self._leave, leaving), (self._join, joining)):
            # Those of one command have to be in one slot.
            groups = [[channel] for channel in channels] if self._sharded else [[*channels]] if channels else []
            if groups:
                commands = [(verb, *group) for group in groups]
                self._connection.send_packed_command(self._connection.pack_commands(commands))
                self._await()

    def _await(self) -> None:
        if self._asked is None:
            self._asked = monotonic()

    def _left(self, subscriber: Subscriber) -> float | None:
        """Return how long to wait for the server; ask whether it is there if it was silent for long."""
        now = monotonic()
        if self._asked is None and subscriber.idle():
            return None
        if self._asked is None and now >= self._heard + PING_SECONDS:
            self._connection.send_command(b"PING", check_health=False)
            self._await()
        if self._asked is None:
            return self._heard + PING_SECONDS - now
        if now >= self._asked + ANSWER_SECONDS:
            raise TimeoutError("the server does not answer")
        return self._asked + ANSWER_SECONDS - now

    def _receive(self, subscriber: Subscriber) -> bool:
        """Read what has come, and hand it on; return False once there is nothing more."""
        messages: dict[bytes, bytes] = {}
        joined: list[bytes] = []
        read = 0
        while read < AT_ONCE and self._connection.can_read(0):
            self._note(self._connection.read_response(disable_decoding=True), messages, joined)
            read += 1
        if read:
            self._heard = monotonic()
        if joined:
            subscriber.confirmed(joined)
        if messages:
            subscriber.heard(messages)
        return read == AT_ONCE

    def _note(self, answer: Any, messages: dict[bytes, bytes], joined: list[bytes]) -> None:
        kind = answer[0] if isinstance(answer, list) else b"pong"
        if kind in {b"message", b"smessage"}:
            messages[answer[1]] = answer[2]
            return
        self._asked = None
        if kind in {b"subscribe", b"ssubscribe"}:
            if _is_last(self._joining, answer[1]):
                joined.append(answer[1])
        elif kind in {b"unsubscribe", b"sunsubscribe"}:
            if not self._parting[answer[1]]:
                raise ConnectionError("the server has ended the subscription: its slot has moved")
            _is_last(self._parting, answer[1])


def _is_last(due: Counter[bytes], channel: bytes) -> bool:
    """Note that an answer has come; return whether no other is due for the channel."""
    due[channel] -= 1
    if due[channel]:
        return False
    del due[channel]  # else each job that was ever listened to would be remembered
    return True


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
