"""A subscription to a channel, on a connection and in a thread of its own."""

from __future__ import annotations

import selectors
from contextlib import suppress
from logging import getLogger
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from progresskit.abc import Subscription
from progresskit.backends import ReconnectingThread
from progresskit.errors import BackendError, BackendUnavailable

from .driver import Selector, claim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from progresskit_sql.connections import Connections

CHECK_SECONDS = 10.0
"""A connection without a notification for this long is checked: does the server still know of the subscription?"""

POLL_SECONDS = 1.0
"""How often everything is read again while a pooler passes no notification on."""

TRIAL_POLLS = 3
"""After this many polls, a notification that was sent through a pooler as a trial counts as lost."""

TRIAL_AGAIN_SECONDS = 60.0
"""How long a pooler that passed nothing on is not tried again."""

TRIAL = "progresskit_trial"
"""The channel of trials: the client that gets the session next may receive the trial."""

CONNECT_SECONDS = 8.0
"""How long the first call waits for the connection."""


class PoolerState:
    """The state of a pooler that passes no notification on, which all listeners of a backend share."""

    def __init__(self) -> None:
        self._until = 0.0
        self._not_logged = Lock()

    @property
    def loses_notifications(self) -> bool:
        """True until the pooler is tried again."""
        return monotonic() < self._until

    def note_loss(self) -> None:
        """Note that a trial was lost, and log it the first time."""
        self._until = monotonic() + TRIAL_AGAIN_SECONDS
        if self._not_logged.acquire(blocking=False):
            getLogger("progresskit").warning(
                "A connection pooler passes no notification on, so changes are polled each second; with ?pooler=on in "
                "the URL they are polled once per interval"
            )


class ChannelListener(ReconnectingThread, Subscription):
    """
    Calls `on_notified` with those of the watched ids that were named on the channel.

    All notifications that wait to be read are taken together, so that a slow `on_notified` is called seldom and never
    with a backlog. Where it fails because of the backend, something was missed: `on_gap` is called.

    A pooler that gives the session to another client after each transaction accepts LISTEN without any effect. So
    a pooler is tried first; until a notification has come through it, `on_gap` is called again and again.
    """

    def __init__(
        self,
        connections: Connections,
        channel: str,
        on_notified: Callable[[Collection[str]], None],
        on_gap: Callable[[], None],
        pooler: PoolerState,
    ) -> None:
        super().__init__(f"progresskit-{channel}")
        self._connections, self._channel, self._pooler = connections, channel, pooler
        self._on_notified, self._on_gap = on_notified, on_gap
        self._ids: frozenset[str] = frozenset()
        self._notified: set[str] = set()
        self._connection: psycopg.Connection[Any] | None = None
        self._ready = self._gap = self._on_trial = False

    def add(self, ids: Collection[str]) -> None:
        """Watch these as well; raises BackendUnavailable where the server cannot be listened to now."""
        with self.changed:
            self._ids = self._ids.union(ids)
            failures = self.failures
            self.start()
            self.hurry()
            if not self.wait(lambda: self._ready or self.closed, failures, CONNECT_SECONDS):
                raise self._unavailable(self.error if self.failures > failures else None)

    def _unavailable(self, error: Exception | None) -> BackendError:
        if isinstance(error, BackendError):
            return error
        return BackendUnavailable(f"{self._connections}: {error or 'no connection to listen on yet'}")

    def remove(self, ids: Collection[str]) -> None:
        """Watch these no longer."""
        with self.changed:
            self._ids = self._ids.difference(ids)

    # The thread.

    def serve(self) -> None:
        """Listen; or poll, while it is known that a pooler passes nothing on."""
        if self._pooler.loses_notifications:
            self._begin()
            self._poll()
            return
        try:
            self._listen()
        finally:
            self._disconnect()

    def failed(self, error: Exception) -> None:
        """Log the first failure, unless callers get it raised."""
        if self._gap and self._backoff.failures == 0:
            getLogger("progresskit").warning("Changes are not pushed for now, listening is tried again: %s", error)
        elif not isinstance(error, BackendError | psycopg.Error):
            getLogger("progresskit").error("Unexpected error while listening; it continues", exc_info=error)

    def _begin(self) -> None:
        """Note that changes are not missed from now on; say so where they may have been before."""
        with self.changed:
            gap, self._gap, self._ready = self._gap, True, True
            self.connected()
        if gap:
            self._call(self._on_gap)

    def _poll(self) -> None:
        while not self.closed and self._pooler.loses_notifications:
            if not self._wait(POLL_SECONDS):
                self._call(self._on_gap)

    def _listen(self) -> None:
        self._connection = connection = self._connect()
        self._begin()
        if self._on_trial and not self._try(connection):
            return
        while not self.closed:
            self._receive(connection)

    def _connect(self) -> psycopg.Connection[Any]:
        with self._connections.detach() as connection:
            claim(connection)
            connection.add_notify_handler(self._note)
            ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
            self._on_trial = pid != connection.pgconn.backend_pid  # which a pooler makes up
            _execute(connection, "LISTEN {}", TRIAL if self._on_trial else self._channel)
            listening: psycopg.Connection[Any] = connection
        return listening

    def _try(self, connection: psycopg.Connection[Any]) -> bool:
        """Find out whether notifications come through the pooler, and poll meanwhile."""
        with self._connections.checkout() as checkout:
            checkout.connection.execute("SELECT pg_notify(%s, '')", (TRIAL,))
        came = False
        for _ in range(TRIAL_POLLS):
            if came := self._wait(POLL_SECONDS, connection.pgconn.socket):
                break
            self._call(self._on_gap)
        if self.closed:
            return False
        _execute(connection, "UNLISTEN {}", TRIAL)
        if not came:
            self._pooler.note_loss()
            return False
        _execute(connection, "LISTEN {}", self._channel)
        self._on_trial = False
        self._call(self._on_gap)
        return True

    def _disconnect(self) -> None:
        with self.changed:
            connection, self._connection = self._connection, None
            self._ready = False
        self._notified.clear()
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _note(self, notify: psycopg.Notify) -> None:
        self._notified.update(notify.payload.split(","))

    def _wait(self, seconds: float, *others: int) -> bool:
        """Wait until `close` is called or one of the sockets is readable; return whether that was so."""
        assert self.waker is not None
        with Selector() as selector:
            for descriptor in (self.waker.fileno(), *others):
                selector.register(descriptor, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _receive(self, connection: psycopg.Connection[Any]) -> None:
        ready = self._wait(CHECK_SECONDS, connection.pgconn.socket)
        if self.closed:
            return
        if ready:
            connection.pgconn.consume_input()
            while notify := connection.pgconn.notifies():
                self._notified.update(notify.extra.decode().split(","))
        else:
            self._check(connection)
        notified, self._notified = self._notified & self._ids, set()
        if notified:
            self._pass_on(notified)

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        """Fail where the server does not know of the subscription: a half-open connection, or a pooler on the way."""
        channels = connection.execute("SELECT pg_listening_channels()").fetchall()
        if (self._channel,) not in channels:
            raise psycopg.OperationalError(
                "the server does not know of the subscription; behind a pooler, put ?pooler=on into the URL"
            )

    def _pass_on(self, ids: Collection[str]) -> None:
        try:
            self._on_notified(ids)
        except BackendError:
            self._call(self._on_gap)
        except Exception:
            getLogger("progresskit").exception("Unexpected error in a listener's callback; it continues")

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            getLogger("progresskit").exception("Unexpected error in a listener's callback; it continues")


def _execute(connection: psycopg.Connection[Any], statement: LiteralString, channel: str) -> None:
    connection.execute(sql.SQL(statement).format(sql.Identifier(channel)))
