"""
Checks connections out of an engine, and keeps them out of forked processes.

A connection to a server that was open at a fork is forgotten by the child, and never closed there: it is the parent's.
A file of SQLite is worse: SQLite keeps the locks that a process holds in the memory of that process. A child forked
while a connection is open takes them for its own, holds none in truth, and loses its writes when the parent closes
the last connection and removes the log. So before a fork idle connections to a file are closed, and the parent
connects again. After a fork that ran no hooks of Python the child closes them, as soon as it notices: its closing
leaves the parent's locks, and the log, as they are.

With any database, a child that is forked in the middle of a call may find a lock held indefinitely. So a fork waits
until the calls of other threads are through.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
import os
from contextlib import contextmanager, nullcontext
from threading import Condition
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import sqlalchemy as sa

from progresskit import forks
from progresskit.backends import keep_inherited
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.urls import describe, redact

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from .driver import Driver
    from .tables import Tables

FORK_SECONDS = 2.0
"""How long a fork waits for calls of other threads; longer than a call waits for a locked SQLite database."""

TRIES = 8
"""So many connections in a row are taken from the pool, and found to be ended by the server, before one is used."""


class Checkout(NamedTuple):
    """A connection, and which database it leads to: another one, if records may be gone."""

    connection: sa.Connection
    home: Hashable


class Connections:
    """The connections of one engine; one that was given is used as it is and never closed."""

    def __init__(self, driver: Driver, tables: Tables, given: sa.Engine | None) -> None:
        self._driver, self._tables = driver, tables
        self._own = given is None
        self._engine = given or driver.engine()
        self._key = f"progresskit {id(self)}"
        self._breaks = 0
        self._errors: tuple[type[Exception], ...] = (_StaleConnection, sa.exc.SQLAlchemyError, *driver.errors)
        _all.add(self)

    @contextmanager
    def checkout(self) -> Iterator[Checkout]:
        """Give a connection that is ready, in autocommit mode; errors of the driver become errors of the kit's."""
        with _gate.call(), self._translated():
            pool, connection = self._engine.pool, self._take()
            driver: Any = connection.connection.driver_connection
            try:
                with nullcontext() if self._own else self._driver.lent(driver):
                    yield Checkout(connection, (self._home(connection), self._breaks))
            except BackendError:  # the connection has no part in it
                raise
            except BaseException as error:  # the answer to an interrupted call may arrive later
                self._breaks += isinstance(error, Exception) and self._driver.is_broken(driver)
                self._discard(connection)
                raise
            finally:
                if self._own and pool is not self._engine.pool and not connection.invalidated:
                    connection.invalidate()  # closed meanwhile: there is no pool to go back to
                connection.close()

    @contextmanager
    def detach(self) -> Iterator[Any]:
        """Give a driver's connection that no pool knows of any more; the caller closes it, but not after an error."""
        with _gate.call(), self._translated():
            connection = self._take()
            driver = connection.connection.driver_connection
            try:
                connection.detach()
                yield driver
            except BaseException:
                connection.close()
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise self._failure(error) from error

    def _take(self) -> sa.Connection:
        for _ in range(TRIES):
            connection = self._connect()
            driver: Any = connection.connection.driver_connection
            if not self._driver.is_broken(driver):
                return connection
            self._breaks += 1
            self._discard(connection)
            connection.close()
        return self._connect()

    def _connect(self) -> sa.Connection:
        connection = self._engine.connect()
        return connection if self._own else connection.execution_options(isolation_level="AUTOCOMMIT")

    def _home(self, connection: sa.Connection) -> Hashable:
        home: Hashable = connection.info.get(self._key)
        if home is None:
            if self._own:
                self._driver.prepare(connection)
            self._tables.make(connection, self._driver)
            home = connection.info[self._key] = self._driver.home(connection, self._own)
        elif not self._driver.leads_home(home):
            raise _StaleConnection("the database was removed or replaced")
        return home

    def _discard(self, connection: sa.Connection) -> None:
        if not connection.invalidated:
            connection.info.pop(self._key, None)
            if self._driver.shared:  # else the database would go with the connection
                connection.invalidate()

    def _failure(self, error: Exception) -> BackendError:
        cause: BaseException = getattr(error, "orig", None) or error  # SQLAlchemy's message has the parameters
        now = isinstance(error, sa.exc.TimeoutError | _StaleConnection) or self._driver.passes(cause)
        return (BackendUnavailable if now else BackendError)(f"{self}: {describe(cause, self._url)}")

    @property
    def _url(self) -> str:
        return self._engine.url.set(query={}).render_as_string(hide_password=False)

    def __str__(self) -> str:
        return redact(self._url)

    def close(self) -> None:
        """Close those of an engine of our own."""
        if self._own:
            self._engine.dispose()

    def close_before_fork(self) -> None:
        """Close connections that do harm when they are inherited, but none of a given engine."""
        if self._own and not self._driver.fork_safe:
            self._engine.dispose()

    def after_fork_in_child(self) -> None:
        """Forget inherited connections, and never close them."""
        if _gate.was_quiet:
            self.close_before_fork()  # only after a fork without hooks is one open here
        keep_inherited(self._engine.pool)
        if self._own:
            keep_inherited(self._engine)
            self._engine = self._driver.engine()  # a new one, for a lock of the old one may be held for ever
        else:
            self._engine.dispose(close=False)


class _StaleConnection(Exception):
    """The connection leads to a database that is no longer there."""


class _Gate:
    """Lets calls run concurrently, but no fork during a call."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._calls = 0
        self._forks = 0
        self.was_quiet = True
        """True unless a call was under way when this process was forked."""

    @contextmanager
    def call(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._forks)
            self._calls += 1
        try:
            yield
        finally:
            with self._condition:
                self._calls -= 1
                self._condition.notify_all()

    def before_fork(self) -> None:
        self._condition.acquire()
        self._forks += 1
        self._condition.wait_for(lambda: not self._calls, FORK_SECONDS)
        self._forks -= 1
        for connections in list(_all):
            connections.close_before_fork()

    def after_in_parent(self) -> None:
        self._condition.notify_all()
        self._condition.release()

    def after_in_child(self) -> None:
        self.was_quiet = not self._calls
        self._calls = self._forks = 0  # those of threads that are not here
        self._condition = Condition()  # the thread that holds the other one may not exist here


_gate = _Gate()
_all: WeakSet[Connections] = WeakSet()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.before_fork, after_in_parent=_gate.after_in_parent)
forks.after_in_child(_gate.after_in_child)
