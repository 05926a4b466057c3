"""The backend, for every database."""

from __future__ import annotations

import re
from importlib import import_module
from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from progresskit.abc import Backend, SupportsListing
from progresskit.backends import DecodeCache
from progresskit.decoding import decode
from progresskit.errors import BackendUnavailable, ConfigurationError
from progresskit.registry import missing_package
from progresskit.urls import check_server_url

from .connections import Connections
from .dialect import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
    from typing import Self

    from sqlalchemy import URL

    from progresskit.config import Settings
    from progresskit.progress import Progress, State, Write

    from .connections import Lent
    from .dialect import Dialect

DIALECTS: dict[str, tuple[str, str]] = {
    "sqlite": ("progresskit_sql.sqlite", "SQLite"),
    "postgresql": ("progresskit_sql.postgresql", "PostgreSQL"),
    "mysql": ("progresskit_sql.mysql", "MySQL"),
    "mariadb": ("progresskit_sql.mysql", "MySQL"),
}
"""Where the dialect of a database is found; it is imported when it is needed, and its driver with it."""

SWEEP_SECONDS = 60.0
"""How often a process deletes expired records."""

SWEEP_ROWS = 500
"""How much of it at once; if there is more, the next write goes on with it."""


class SQLBackend(Backend, SupportsListing):
    """
    Keeps one row a job in the table `<prefix>_jobs`, which is made on first use.

    `database` is a URL, or an Engine, which is used with the settings it has and is never closed. `clock` (seconds
    since the epoch) takes the place of the server's clock, or of the host's where there is no server. Where the
    database can push changes, an object of a subclass is made, which does.
    """

    def __new__(cls, database: Engine | URL | str, **options: Any) -> Self:
        """Choose the class."""
        url = _url(database)
        pushing = _dialect(url).pushing(url) if cls is SQLBackend else None
        return object.__new__(pushing or cls)  # type: ignore[return-value]

    def __init__(
        self, database: Engine | URL | str, *, prefix: str = "progresskit", clock: Callable[[], float] | None = None
    ) -> None:
        url = _url(database)
        self._clock = clock or time
        self._dialect = _dialect(url)(url, prefix, clock)
        self._connections = Connections(self._dialect, database if isinstance(database, Engine) else None)
        self._sweep_at = 0.0
        self._found = False
        self._written_to: Hashable = None
        self._decoded = DecodeCache()
        self.shared = self._dialect.shared

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> SQLBackend:
        """Make the backend of a URL of SQLAlchemy's; one in memory is refused, as `memory://` is better at that."""
        backend = cls(url, prefix=settings.prefix)
        if not backend.shared:
            raise ConfigurationError(
                "a database in memory is seen by this process only: use memory:// for that, or a file, as in "
                f"{EXAMPLES['sqlite']}"
            )
        return backend

    def missing(self) -> str | None:
        """Return the path of a file that was missing at a read; reading does not make it."""
        if self._found:
            return None
        missing = self._dialect.missing()
        self._found = missing is None
        return missing

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, in the database, in one transaction."""
        if not batch:
            return {}
        try:
            with self._connections.lend() as lent:
                self._check_home(lent)
                runs = self._dialect.write(lent.connection, batch)
                self._sweep(lent.connection)
        except BackendUnavailable:
            self._written_to = None  # the publisher knows now that it has to send all again
            raise
        return runs

    def _check_home(self, lent: Lent) -> None:
        """Fail once after the database was replaced, even if a reader met that first: all has to be sent again."""
        known, self._written_to = self._written_to, lent.home
        if known not in {None, lent.home}:
            raise BackendUnavailable(f"{self._connections}: another database has taken its place")

    def _sweep(self, connection: Any) -> None:
        now = self._clock()
        if now >= self._sweep_at:
            swept = self._dialect.sweep(connection, SWEEP_ROWS)
            self._sweep_at = now if swept == SWEEP_ROWS else now + SWEEP_SECONDS

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired, by one query."""
        if not ids or self.missing():
            return {}
        with self._connections.lend() as lent:
            rows = self._dialect.read(lent.connection, ids)
        return self._progress(rows)

    def _progress(self, rows: Iterable[tuple[str, Hashable]]) -> dict[str, Progress]:
        records = ((id, self._decoded.get(id, row, self._decode, id, row)) for id, row in rows)
        return {id: record for id, record in records if record is not None}

    def _decode(self, id: str, row: Hashable) -> Progress:
        stored, stalled = self._dialect.unpack(row)
        return decode(stored, stalled, id)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        if self.missing():
            return set()
        with self._connections.lend() as lent:
            return self._dialect.request_cancel(lent.connection, ids)

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        if self.missing():
            return set()
        with self._connections.lend() as lent:
            return self._dialect.cancel_requested(lent.connection, ids)

    def forget(self, ids: Collection[str]) -> set[str]:
        """Delete those that are done or stalled."""
        if not ids:
            return set()
        with self._connections.lend() as lent:
            return self._dialect.forget(lent.connection, ids)

    def list(self, *, kind: str | None, states: Collection[State] | None, limit: int) -> list[Progress]:
        """Return the jobs written last, newest first."""
        if self.missing():
            return []
        asked = limit
        while True:
            with self._connections.lend() as lent:
                rows = self._dialect.list(lent.connection, kind, states, asked)
            records = [*self._progress(rows).values()]
            if len(records) >= limit or len(rows) < asked:
                return records[:limit]
            asked += asked - len(records)  # as many more as could not be decoded

    def close(self) -> None:
        """Close the connections, unless they are of an engine that was given; a later call opens new ones."""
        self._connections.close()
        self._decoded.clear()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._connections.after_fork_in_child()
        self._decoded = DecodeCache()
        self._written_to = None


def ddl(database: URL | str, *, prefix: str = "progresskit") -> list[str]:
    """
    Return the statements that make the table of a database at that URL, for a migration to run.

    No connection is made, and of the URL only the kind of database counts: `ddl("postgresql://")`.
    """
    url = _url(database)
    return _dialect(url)(url, prefix, None).ddl()


def _url(database: Engine | URL | str) -> URL:
    if isinstance(database, Engine):
        return database.url
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        raise _no_url(database) from None
    if isinstance(database, str):
        _check_secrets(database, url)
    return url


def _check_secrets(text: str, url: URL) -> None:
    """Refuse a URL of which parts of a password would be shown as something else."""
    if url.get_backend_name() != "sqlite":
        check_server_url(text)
    elif url.drivername in {"sqlite", "sqlite+pysqlite"} and not re.match(r"[^:]+://(/|\?|$)", text):
        raise _no_url(text)  # a file has no host


def _no_url(database: URL | str) -> ConfigurationError:
    # SQLAlchemy's message may hold the URL, and the URL a password.
    kind = str(database).partition("://")[0].partition("+")[0]
    return ConfigurationError(f"not a database URL; one looks like {EXAMPLES.get(kind, EXAMPLES['sqlite'])}")


def _dialect(url: URL) -> type[Dialect]:
    name = url.get_backend_name()
    if name not in DIALECTS:
        raise ConfigurationError(f"progresskit_sql does not know the database {name!r}; it knows {', '.join(DIALECTS)}")
    module, attribute = DIALECTS[name]
    try:
        dialect: type[Dialect] = getattr(import_module(module), attribute)
    except ImportError as error:
        raise missing_package(f"{name}://", error, "sql") from error
    return dialect
