"""Changes that PostgreSQL pushes, by LISTEN and NOTIFY: a subscription has a connection and a thread of its own."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from logging import getLogger
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import psycopg
from psycopg import sql

from progresskit.abc import Subscription, SupportsCancelPush, SupportsPush
from progresskit.backends import ReconnectingThread, keep_inherited
from progresskit.errors import BackendError

from .backend import SQLBackend
from .driver import is_readable
from .waiting import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from progresskit.progress import Progress

    from .postgresql import PostgreSQL

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
        backend: ListeningBackend,
        channel: str,
        on_notified: Callable[[Collection[str]], None],
        on_gap: Callable[[], None],
    ) -> None:
        super().__init__(f"progresskit-{channel}", str(backend))
        self._backend, self._channel = backend, channel
        self._on_notified, self._on_gap = on_notified, on_gap
        self._ids: frozenset[str] = frozenset()
        self._notified: set[str] = set()
        self._connection: psycopg.Connection[Any] | None = None
        self._ready = self._gap = self._is_told = False

    def add(self, ids: Collection[str]) -> None:
        """Watch these as well; raises BackendUnavailable where the server cannot be listened to now."""
        with self.changed:
            self._ids = self._ids.union(ids)
        if not self.closed:
            self.require(lambda: self._ready, CONNECT_SECONDS)

    def remove(self, ids: Collection[str]) -> None:
        """Watch these no longer."""
        with self.changed:
            self._ids = self._ids.difference(ids)

    # The thread.

    def serve(self) -> None:
        """Listen; or poll, while it is known that a pooler passes nothing on."""
        if self._backend.is_polling:
            self._begin()
            while not self.closed and self._backend.is_polling:
                if not self._wait(POLL_SECONDS):
                    self._call(self._on_gap)
            return
        connection = self._connection = self._backend.detached()
        try:
            self._listen(connection)
        except psycopg.Error as error:
            raise self.unavailable(str(error)) from error
        finally:
            self._notified.clear()
            with suppress(psycopg.Error):
                connection.close()

    def disconnected(self) -> None:
        """Note that changes are missed, and forget the connection."""
        self._ready, self._is_told, self._connection = False, False, None

    def failed(self, error: Exception) -> None:
        """Log the first failure, unless callers get it raised."""
        if self._gap and self._backoff.failures == 0:
            getLogger("progresskit").warning("Changes are not pushed for now, listening is tried again: %s", error)
        elif not isinstance(error, BackendError):
            getLogger("progresskit").error("Unexpected error while listening; it continues", exc_info=error)

    def _begin(self) -> None:
        """Note that changes are not missed from now on; say so where they may have been before."""
        with self.changed:
            gap, self._gap, self._ready = self._gap, True, True
            self.connected()
        if gap:
            self._call(self._on_gap)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
        through_pooler = pid != connection.pgconn.backend_pid  # which a pooler makes up
        listen = sql.SQL("LISTEN {}").format(sql.Identifier(self._channel))
        if not through_pooler:
            connection.execute(listen)
        self._begin()
        if through_pooler:
            if not self._passes(connection):
                return
            connection.execute(listen)
            self._call(self._on_gap)
        self._is_told = True
        connection.add_notify_handler(lambda notify: self._notified.update(notify.payload.split(",")))
        while not self.closed:
            self._receive(connection)

    def _passes(self, connection: psycopg.Connection[Any]) -> bool:
        """Find out whether notifications come through the pooler, and poll meanwhile."""
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(TRIAL)))
        self._backend.notify(TRIAL)
        came = False
        for _ in range(TRIAL_POLLS):
            if came := self._wait(POLL_SECONDS, connection.pgconn.socket):
                break
            self._call(self._on_gap)
        if not self.closed:
            connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(TRIAL)))
            if not came:
                self._backend.poll()
        return came and not self.closed

    def _wait(self, seconds: float, *others: int) -> bool:
        """Wait until `close` is called or one of the sockets is readable; return whether that was so."""
        assert self.waker is not None
        return is_readable(seconds, self.waker.fileno(), *others)

    def _receive(self, connection: psycopg.Connection[Any]) -> None:
        ready = self._wait(CHECK_SECONDS, connection.pgconn.socket)
        if self.closed:
            return
        if ready:
            connection.pgconn.consume_input()
            while notify := connection.pgconn.notifies():
                self._notified.update(notify.extra.decode().split(","))
        elif (self._channel,) not in connection.execute("SELECT pg_listening_channels()").fetchall():
            # The connection is half open, or there is a pooler on the way.
            raise psycopg.OperationalError(
                "the server does not know of the subscription; behind a pooler, put ?pooler=on into the URL"
            )
        notified, self._notified = self._notified & self._ids, set()
        if notified:
            self._call(partial(self._on_notified, notified))

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except BackendError:
            if callback is not self._on_gap:
                self._call(self._on_gap)
        except Exception:
            getLogger("progresskit").exception("Unexpected error in a listener's callback; it continues")


class ListeningBackend(SQLBackend, SupportsPush, SupportsCancelPush):
    """
    Keeps the records in a table and pushes changes.

    A notification says which jobs have changed, and their records are then read, those that are watched and all of them
    together: notifications that arrive meanwhile are taken next. Each process that listens keeps one connection.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._listeners: WeakSet[ChannelListener] = WeakSet()
        self._polls_until: float | None = None

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Pass on the records of watched jobs that were written, renewed or asked to stop."""

        def changed(ids: Collection[str]) -> None:
            if records := self.read(ids):
                on_update(records.values())

        return self._listener(cast("PostgreSQL", self._driver).channel, changed, on_gap)

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Pass on requests to cancel; a job that has begun again meanwhile has none."""

        def asked(ids: Collection[str]) -> None:
            if cancels := self.cancel_requested(ids):
                on_cancel(cancels)

        return self._listener(cast("PostgreSQL", self._driver).cancels_channel, asked, on_gap)

    def _listener(self, channel: str, *callbacks: Any) -> ChannelListener:
        listener = ChannelListener(self, channel, *callbacks)
        self._listeners.add(listener)
        return listener

    # For listeners.

    def detached(self) -> psycopg.Connection[Any]:
        """Return a connection that no pool knows of, with bounded waiting and in autocommit mode."""
        with self._connections.detach() as connection:
            connection.wait = answer.__get__(connection)
            connection.autocommit = True
            found: psycopg.Connection[Any] = connection
        return found

    def notify(self, channel: str) -> None:
        """Send a notification."""
        with self._connections.checkout() as checkout:
            checkout.connection.exec_driver_sql(f"NOTIFY {channel}")

    @property
    def is_polling(self) -> bool:
        """True while a pooler is known to pass no notification on, until it is tried again."""
        return self._polls_until is not None and monotonic() < self._polls_until

    def poll(self) -> None:
        """Have all listeners poll for a while, and log so the first time."""
        first, self._polls_until = self._polls_until is None, monotonic() + TRIAL_AGAIN_SECONDS
        if first:
            getLogger("progresskit").warning(
                "A connection pooler passes no notification on, so changes are polled each second; with ?pooler=on in "
                "the URL they are polled once per interval"
            )

    def close(self) -> None:
        """Stop listening, and close the connections."""
        for listener in list(self._listeners):
            listener.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's; its listeners are not here."""
        for listener in list(self._listeners):
            listener.closed = True  # its thread and its connection are the parent's
            keep_inherited(listener)
        self._listeners, self._polls_until = WeakSet(), None
        super().after_fork_in_child()
