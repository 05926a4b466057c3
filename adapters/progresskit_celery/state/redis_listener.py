"""
Listens to channels of Redis, on a connection that one thread alone uses.

Whoever wants another channel leaves a note and wakes the thread by a message on a channel that only it listens to.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager, suppress
from logging import getLogger
from random import uniform
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Any

from celery.backends.redis import redis

from progresskit.abc import Listener
from progresskit.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from .on_redis import RedisStore

WATCH_SECONDS = 5.0
"""How long whoever watches waits for the server to confirm it."""

TICK_SECONDS = 1.0
QUIET_TICKS, DEAD_TICKS = 5, 10
"""A connection is asked for a sign of life after so many quiet ticks, and given up after so many."""

RETRY_SECONDS = (0.1, 2.0)
"""The wait after a first failure, and the longest; it doubles from one to the other, and half of it is chance."""

TOGETHER = 500
"""How many messages are handed on at once, at most; of each job the last one only."""

CLOSE_SECONDS = 2.0


class RedisListener(Listener):
    """A subscription; `channel` gives the channel of a job, `heard` is called with the last message of each job."""

    def __init__(
        self,
        store: RedisStore,
        channel: Callable[[str], bytes],
        heard: Callable[[dict[str, bytes]], None],
        lost: Callable[[], None],
    ) -> None:
        self._store, self._channel, self._heard, self._lost = store, channel, heard, lost
        self._changed = Condition()
        self._jobs: dict[bytes, str] = {}
        """What is wanted: the job of each channel."""
        self._sent: set[bytes] = set()
        self._unanswered = Counter[bytes]()
        """How many answers are due for a channel: that to an earlier subscription, ended since, confirms nothing."""
        self._confirmed: set[bytes] = set()
        self._missed = False
        """True from when a message may have been missed until that is told."""
        self._down = False
        self._closed = Event()
        self._bell = b"progresskit-bell-" + os.urandom(12).hex().encode()
        self._thread: Thread | None = None

    def watch(self, ids: Collection[str]) -> None:
        """Return when the server has confirmed it, or cannot now: then `lost` is called when it has."""
        channels = {self._channel(id): id for id in ids}
        with self._changed:
            self._jobs.update(channels)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="progresskit-redis-listener", daemon=True)
                self._thread.start()
        self._ring()
        with self._changed:
            settled = self._changed.wait_for(
                lambda: self._closed.is_set() or self._down or self._confirmed.issuperset(channels), WATCH_SECONDS
            )
            self._missed = self._missed or self._down or not settled

    def unwatch(self, ids: Collection[str]) -> None:
        """Listen to these no longer."""
        with self._changed:
            for id in ids:
                self._jobs.pop(self._channel(id), None)
        self._ring()

    def close(self) -> None:
        """End the thread and its connection."""
        self._closed.set()
        with self._changed:
            self._jobs = {}
            self._changed.notify_all()
        self._ring()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _ring(self) -> None:
        if self._bell in self._confirmed:  # else the thread is about to look by itself
            with suppress(BackendError), self._store.guarded():
                self._store.client().publish(self._bell, "")

    # The thread.

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                with self._store.guarded(), self._connected() as connection:
                    self._subscribe(connection)
                    failures = 0
                    self._follow(connection)
            except BackendError:
                pass
            except Exception:
                # Nothing that is known of raises here; whatever it is, the viewers must not lose their thread by it.
                getLogger("progresskit").exception("Listening to Redis failed in a way that it should not; it goes on")
            with self._changed:
                self._down = self._missed = True
                self._sent, self._confirmed = set(), set()
                self._unanswered.clear()
                self._changed.notify_all()
            delay = min(RETRY_SECONDS[0] * 2**failures, RETRY_SECONDS[1])
            failures = min(failures + 1, 16)
            self._closed.wait(uniform(delay / 2, delay))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        pool = self._store.client().connection_pool
        try:
            connection = pool.get_connection()
        except TypeError:  # redis-py before 5.3
            connection = pool.get_connection("SUBSCRIBE")
        try:
            yield connection
        finally:
            connection.disconnect()
            pool.release(connection)

    def _subscribe(self, connection: Any) -> None:
        """Ask for what is wanted and not asked for yet, and for nothing else."""
        with self._changed:
            wanted = {self._bell, *self._jobs}
            more, less = wanted - self._sent, self._sent - wanted
            self._sent = wanted
            self._confirmed -= less
            self._unanswered.update(more)
        if more:
            connection.send_command("SUBSCRIBE", *more, check_health=False)
        if less:
            connection.send_command("UNSUBSCRIBE", *less, check_health=False)

    def _follow(self, connection: Any) -> None:
        quiet = 0
        while not self._closed.is_set():
            if connection.can_read(timeout=TICK_SECONDS):
                quiet = 0
                self._take(connection)
                self._subscribe(connection)
            else:
                quiet += 1
                if quiet == QUIET_TICKS:
                    connection.send_command("PING", check_health=False)
                elif quiet == DEAD_TICKS:
                    raise redis.exceptions.ConnectionError("no sign of life")

    def _take(self, connection: Any) -> None:
        messages: dict[str, bytes] = {}
        for _ in range(TOGETHER):
            kind, channel, *rest = connection.read_response()
            if kind == b"message":
                id = self._jobs.get(channel)
                if id is not None:
                    messages[id] = rest[-1]
            elif kind == b"subscribe":
                self._answered(channel)
            if not connection.can_read(timeout=0):
                break
        if messages:
            self._heard(messages)
        self._settle()

    def _answered(self, channel: bytes) -> None:
        with self._changed:
            self._unanswered[channel] -= 1
            if not self._unanswered[channel]:
                del self._unanswered[channel]  # else each job that was ever listened to would be remembered
                if channel in self._sent:
                    self._confirmed.add(channel)

    def _settle(self) -> None:
        """Let those go on who wait until all is confirmed; tell if something was missed before."""
        with self._changed:
            if not self._confirmed.issuperset({self._bell, *self._jobs}):
                self._changed.notify_all()
                return
            missed, self._missed, self._down = self._missed, False, False
            self._changed.notify_all()
        if missed:
            self._lost()
