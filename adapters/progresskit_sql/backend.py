"""The backend, for every database."""

from __future__ import annotations

import re
from importlib import import_module
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from progresskit.abc import SupportsListing
from progresskit.backends.parts import PartsBackend
from progresskit.decoding import decode_each
from progresskit.errors import ConfigurationError
from progresskit.progress import Role
from progresskit.registry import missing_package
from progresskit.urls import check_server_url

from .connections import Connections
from .dialect import EXAMPLES, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Self

    from sqlalchemy import URL

    from progresskit.backends.parts import DecideParts
    from progresskit.backends.stores import Decide, StoredRecord
    from progresskit.config import Settings
    from progresskit.parts import Report
    from progresskit.progress import Progress, State, Write

    from .dialect import Dialect, Row

DIALECTS: dict[str, tuple[str, str]] = {
    "sqlite": ("progresskit_sql.sqlite", "SQLite"),
    "postgresql": ("progresskit_sql.postgresql", "PostgreSQL"),
    "mysql": ("progresskit_sql.mysql", "MySQL"),
    "mariadb": ("progresskit_sql.mysql", "MySQL"),
}
"""Where the dialect of a database is found; it is imported when it is needed, and its driver with it."""

CONFLICT_TRIES = 5
"""How often a call is made while other sessions are in its way."""

SWEEP_SECONDS = 60.0
"""How often a process deletes expired records."""

SWEEP_ROWS = 500
"""How many of them at once; if there are more, the next write goes on with it."""

SWEEP_PARTS = 5_000
"""How many of the parts of expired jobs at once."""


Result = TypeVar("Result")


class SQLBackend(PartsBackend, SupportsListing):
    """
    Keeps one row a job in the table `<prefix>_jobs`, and one a part in `<prefix>_parts`, which are made on first use.

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
        super().__init__()
        url = _url(database)
        self._clock = clock or time
        self._dialect = _dialect(url)(url, prefix, clock)
        self._connections = Connections(self._dialect, database if isinstance(database, Engine) else None)
        self._sweep_at = 0.0
        self._found = False
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

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Fold both in; reports that need no decision are stored by a statement of their own, where there is one."""
        if not (self._dialect.has_report and reports):
            return super().write_with_reports(batch, reports)
        written = {write.id for write in batch}
        alone = [report for report in reports if report.parent not in written]
        with self.noticing_failure(), self._connections.checkout() as checkout:
            self.check_server(checkout.home)
            run_tokens, left = self._retried(lambda: self._dialect.report(checkout.connection, alone))
            self._sweep(checkout.connection)
        left += [report for report in reports if report.parent in written]
        if not (batch or left):
            return {}, run_tokens
        runs, found = super().write_with_reports(batch, left)
        return runs, run_tokens | found

    def transact_writes(self, writes: Mapping[str, Write], decide: Decide) -> None:
        """Store the writes of workers as the dialect can, and have `decide` fold in external updates."""
        self.transact_with_parts(writes, {}, with_parts(decide))

    def transact_with_parts(
        self, writes: Mapping[str, Write], names: Mapping[str, Sequence[str]], decide: DecideParts
    ) -> None:
        """Do the same; `decide` folds in declarations and reports of parts as well."""
        by_workers = [
            write
            for id, write in writes.items()
            if write.role is not Role.EXTERNAL and write.declaration is None and id not in names
        ]
        others = {*writes, *names}.difference(write.id for write in by_workers)
        with self._connections.checkout() as checkout:
            self.check_server(checkout.home)
            if by_workers:
                self._retried(lambda: self._dialect.write(checkout.connection, by_workers, decide))
            if others:
                self._retried(lambda: self._dialect.transact(checkout.connection, others, decide, names))
            self._sweep(checkout.connection)

    def transact(self, ids: Collection[str], decide: Decide) -> None:
        """Hold the rows in a transaction."""
        if not self.missing():
            with self._connections.checkout() as checkout:
                self._retried(lambda: self._dialect.transact(checkout.connection, ids, with_parts(decide)))

    def _retried(self, call: Callable[[], Result]) -> Result:
        """Call it again where another session was in the way."""
        for _ in range(CONFLICT_TRIES - 1):
            try:
                return call()
            except self._dialect.errors as error:
                if not self._dialect.is_conflict(error):
                    raise
        return call()

    def _sweep(self, connection: Any) -> None:
        now = self._clock()
        if now >= self._sweep_at:
            parts = self._dialect.sweep_parts(connection, SWEEP_PARTS)
            rows = self._dialect.sweep(connection, SWEEP_ROWS)
            self._sweep_at = now if parts == SWEEP_PARTS or rows == SWEEP_ROWS else now + SWEEP_SECONDS

    def load(self, ids: Collection[str]) -> tuple[dict[str, StoredRecord], float]:
        """Read the rows by one query."""
        if self.missing():
            return {}, 0.0
        with self._connections.checkout() as checkout:
            rows, now = self._dialect.load(checkout.connection, ids)
        return self._records(rows), now

    def _records(self, rows: Iterable[Row]) -> dict[str, StoredRecord]:
        found = ((id, decode_each(id, self._dialect.unpack, row)) for id, row in rows)
        return {id: row.record for id, row in found if row is not None}

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked, without their records."""
        if self.missing():
            return set()
        with self._connections.checkout() as checkout:
            return self._dialect.cancel_requested(checkout.connection, ids)

    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> list[Progress]:
        """Return the jobs written last, newest first."""
        if self.missing():
            return []
        asked, member = limit, None if part_of is None else f'"part_of":"{part_of}"'
        while True:
            with self._connections.checkout() as checkout:
                rows, now = self._dialect.list(checkout.connection, kind, states, asked, member)
            records = self.progress_of(self._records(rows), now).values()
            found = [record for record in records if part_of in (None, record.part_of)]
            if len(found) >= limit or len(rows) < asked:
                return found[:limit]
            asked += asked - len(found)  # as many more as could not be decoded, or are not of that job

    def close(self) -> None:
        """Close the connections, unless they are of an engine that was given; a later call opens new ones."""
        self._connections.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._connections.after_fork_in_child()
        super().after_fork_in_child()


def ddl(database: URL | str, *, prefix: str = "progresskit") -> list[str]:
    """
    Return the statements that make the tables of a database at that URL, for a migration to run.

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
