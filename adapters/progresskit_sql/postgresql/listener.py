"""Listens to a channel, on a connection and in a thread of its own."""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress
from random import random
from threading import Lock, current_thread
from time import monotonic
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from progresskit import background
from progresskit.abc import Listener
from progresskit.errors import BackendError
from progresskit_sql.connections import never_close

from .driver import Selector, claim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from logging import Logger
    from threading import Thread

    from progresskit_sql.connections import Connections

RETRY_SECONDS = (0.1, 2.0)
"""The wait after a first failed connection, and the longest; it doubles from one to the other, and half is chance."""

CHECK_SECONDS = 10.0
"""After so long without a word the server is asked whether it still knows of us."""

LOOK_SECONDS = 1.0
"""Where nothing is told, everything is looked at anew so often."""

TOLD_LOOKS = 3
"""After so many looks a notification that was sent through a pooler does not come any more."""

AGAIN_SECONDS = 60.0
"""How long a pooler that told nothing is not tried again."""

TRIAL = "progresskit_trial"
"""The channel that a pooler is tried with: whoever is given the session next may be told what is sent there."""

CLOSE_SECONDS = 2.0
"""How long closing waits for the thread."""


class Deafness:
    """What all listeners of a backend know of a pooler that gives sessions to others, so that none is told."""

    def __init__(self) -> None:
        self._until = 0.0
        self._unsaid = Lock()

    @property
    def lasts(self) -> bool:
        """True while the pooler is not tried again."""
        return monotonic() < self._until

    def begin(self) -> None:
        """Say so, the first time."""
        self._until = monotonic() + AGAIN_SECONDS
        if self._unsaid.acquire(blocking=False):
            _log().warning(
                "A pooler is on the way that keeps no session for us: changes are not told, and looked for each "
                "second; put ?pooler=on into the URL, and it is done once per interval"
            )


class ChannelListener(Listener):
    """
    Calls `act` with those of the watched ids that were named on the channel.

    All that waits to be read is taken together, so that a slow `act` is called seldom and never with a backlog. Where
    `act` fails for the backend's sake, something was missed: `lost` is called.

    A pooler that gives the session to somebody else after each transaction takes LISTEN, and nothing comes of it. So
    one that is on the way is tried first. Until something has come through it, `lost` is called again and again.
    """

    def __init__(
        self,
        connections: Connections,
        channel: str,
        act: Callable[[Collection[str]], None],
        lost: Callable[[], None],
        deafness: Deafness,
    ) -> None:
        self._connections, self._channel, self._act, self._lost = connections, channel, act, lost
        self._deafness = deafness
        self._ids: frozenset[str] = frozenset()
        self._heard: set[str] = set()
        self._lock = Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._on_trial = False
        self._thread: Thread | None = None
        self._closed = False
        self._bell: socket.socket | None = None
        self._ringer: socket.socket | None = None

    def watch(self, ids: Collection[str]) -> None:
        """Watch these as well; the first call connects, and raises BackendUnavailable where that fails."""
        with self._lock:
            self._ids = self._ids.union(ids)
            if self._thread is None and not self._closed:
                if not self._deafness.lasts:
                    self._connect()
                self._bell, self._ringer = socket.socketpair()
                self._thread = background.start(self._run, f"progresskit-{self._channel}", self.close)

    def unwatch(self, ids: Collection[str]) -> None:
        """Watch these no longer."""
        with self._lock:
            self._ids = self._ids.difference(ids)

    def close(self) -> None:
        """End the thread and the connection."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._thread is not None and self._ringer is not None:
            self._ringer.close()  # which the thread hears at once
            if self._thread is not current_thread():
                self._thread.join(CLOSE_SECONDS)

    def forked(self) -> None:
        """Be of no use in a child; what is the parent's stays open."""
        never_close((self._connection, self._bell, self._ringer))
        self._closed = True

    # The thread.

    def _run(self) -> None:
        assert self._bell is not None
        with self._bell:
            self._listen()
        self._disconnect()

    def _listen(self) -> None:
        failures = 0
        while not self._closed:
            try:
                if self._connection is None and not self._deafness.lasts:
                    self._connect()
                    self._tell(self._lost)
                if self._connection is not None and self._on_trial:
                    self._try(self._connection)
                failures = 0
                self._hear()
            except (BackendError, psycopg.Error) as error:
                self._disconnect()
                if not failures and not self._closed:
                    _log().warning("Changes are not heard of now, it is tried again: %s", error)
                self._pause(failures)
                failures += 1
            except Exception:
                # Nothing that is known of raises here; whatever it is, the listening goes on.
                self._disconnect()
                _log().exception("Listening failed in a way that it should not; it goes on")
                self._pause(failures)
                failures += 1

    def _connect(self) -> None:
        with self._connections.lend_for_good() as connection:
            claim(connection)
            connection.add_notify_handler(self._notified)
            ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
            self._on_trial = pid != connection.pgconn.backend_pid  # which a pooler makes up
            _execute(connection, "LISTEN {}", TRIAL if self._on_trial else self._channel)
        self._connection = connection

    def _try(self, connection: psycopg.Connection[Any]) -> None:
        """Find out whether notifications come through the pooler, and look meanwhile; else no connection is needed."""
        with self._connections.lend() as lent:
            lent.connection.execute("SELECT pg_notify(%s, '')", (TRIAL,))
        told = False
        for _ in range(TOLD_LOOKS):
            if told := self._wait(LOOK_SECONDS, connection.pgconn.socket):
                break
            self._tell(self._lost)
        if self._closed:
            return
        _execute(connection, "UNLISTEN {}", TRIAL)
        if told:
            _execute(connection, "LISTEN {}", self._channel)
            self._on_trial = False
            self._tell(self._lost)
        else:
            self._disconnect()
            self._deafness.begin()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._heard.clear()
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _notified(self, notify: psycopg.Notify) -> None:
        self._heard.update(notify.payload.split(","))

    def _wait(self, seconds: float, *others: int) -> bool:
        """Wait for a word of `close`, or on one of the sockets; return whether there was one."""
        assert self._bell is not None
        with Selector() as selector:
            for descriptor in (self._bell.fileno(), *others):
                selector.register(descriptor, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _hear(self) -> None:
        connection = self._connection
        if connection is None:
            if not self._wait(LOOK_SECONDS):
                self._tell(self._lost)
            return
        ready = self._wait(CHECK_SECONDS, connection.pgconn.socket)
        if self._closed:
            return
        if ready:
            connection.pgconn.consume_input()
            while notify := connection.pgconn.notifies():
                self._heard.update(notify.extra.decode().split(","))
        else:
            self._check(connection)
        heard, self._heard = self._heard & self._ids, set()
        if heard:
            self._deal_with(heard)

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        """Fail where the server has forgotten that we listen: a half-open connection, or a pooler on the way."""
        channels = connection.execute("SELECT pg_listening_channels()").fetchall()
        if (self._channel,) not in channels:
            raise psycopg.OperationalError(
                "the server does not know that we listen; behind a pooler, put ?pooler=on into the URL"
            )

    def _deal_with(self, ids: Collection[str]) -> None:
        try:
            self._act(ids)
        except BackendError:
            self._tell(self._lost)
        except Exception:
            _log().exception("An observer of the listener failed")

    def _tell(self, lost: Callable[[], None]) -> None:
        try:
            lost()
        except Exception:
            _log().exception("An observer of the listener failed")

    def _pause(self, failures: int) -> None:
        first, longest = RETRY_SECONDS
        self._wait(min(first * 2 ** min(failures, 16), longest) * (0.5 + random() / 2))


def _execute(connection: psycopg.Connection[Any], statement: LiteralString, channel: str) -> None:
    connection.execute(sql.SQL(statement).format(sql.Identifier(channel)))


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
