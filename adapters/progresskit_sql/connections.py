"""
Lends the connections of an engine, and keeps them out of forked processes.

SQLite keeps the locks that a process holds in the memory of that process. A child forked while a connection is open
takes them for its own, holds none in truth, and loses what it writes when the parent closes the last connection and
removes the log; one forked in the middle of a call may find a lock taken for ever. So a fork waits until the calls of
other threads are through, and closes what is idle: the child finds nothing, the parent connects again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from threading import Condition
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from progresskit.errors import BackendError, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from sqlalchemy import Engine
    from sqlalchemy.pool import Pool, PoolProxiedConnection

    from .dialect import Dialect

FORK_SECONDS = 2.0
"""How long a fork waits for calls of other threads; longer than a call waits for a locked database."""


class Lent(NamedTuple):
    """A connection of the driver, and which database it leads to."""

    connection: Any
    home: Hashable


class Connections:
    """The connections of one engine; one that was given is used as it is and never closed."""

    def __init__(self, dialect: Dialect, given: Engine | None) -> None:
        self._dialect = dialect
        self._own = given is None
        self._engine = given or dialect.engine()
        self._key = f"progresskit {id(self)}"
        _all.add(self)

    @contextmanager
    def lend(self) -> Iterator[Lent]:
        """Give a connection that is ready; whatever the driver raises meanwhile becomes an error of the kit's."""
        errors: tuple[type[Exception], ...] = (*self._dialect.errors, SQLAlchemyError)
        with _gate.call():
            try:
                pooled = self._engine.raw_connection()
            except errors as error:
                raise self._failure(error) from error
            try:
                with nullcontext() if self._own else self._dialect.borrowed(pooled.driver_connection):
                    yield Lent(pooled.driver_connection, self._home(pooled))
            except errors as error:
                self._discard(pooled)
                raise self._failure(error) from error
            except _Astray:
                self._discard(pooled)
                raise BackendUnavailable(f"{self}: the database was removed or replaced") from None
            finally:
                pooled.close()

    def _home(self, pooled: PoolProxiedConnection) -> Hashable:
        home: Hashable = pooled.info.get(self._key)
        if home is None:
            home = pooled.info[self._key] = self._dialect.open(pooled.driver_connection, self._own)
        elif not self._dialect.leads_home(home):
            raise _Astray
        return home

    def _discard(self, pooled: PoolProxiedConnection) -> None:
        pooled.info.pop(self._key, None)
        if self._dialect.shared:  # else the database would go with the connection
            pooled.invalidate()

    def _failure(self, error: Exception) -> BackendError:
        now = isinstance(error, PoolTimeout) or self._dialect.unavailable(error)
        return (BackendUnavailable if now else BackendError)(f"{self}: {error}")

    def __str__(self) -> str:
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    def close(self) -> None:
        """Close those of an engine of our own."""
        if self._own:
            self._engine.dispose()

    def close_before_fork(self) -> None:
        """Leave nothing to inherit, where that is ours to say and nothing is lost by it."""
        if self._own and self._dialect.shared:
            self._engine.dispose()

    def forked(self) -> None:
        """Forget what was inherited, and never close it."""
        _inherited.append(self._engine.pool)
        self._engine.dispose(close=False)


class _Astray(Exception):
    """The connection leads to a database that is no longer there."""


class _Gate:
    """Lets calls pass beside each other, but no fork beside a call."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._calls = 0
        self._forks = 0

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
        self._calls = self._forks = 0  # those of threads that are not here
        self._condition.release()


_gate = _Gate()
_all: WeakSet[Connections] = WeakSet()
_inherited: list[Pool] = []  # kept, because a connection is closed when nobody refers to it any more

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_gate.before_fork, after_in_parent=_gate.after_in_parent, after_in_child=_gate.after_in_child
    )
