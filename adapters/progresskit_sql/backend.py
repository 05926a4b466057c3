"""The backend, for every database."""

from __future__ import annotations

import re
from importlib import import_module
from time import sleep
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from progresskit.abc import SupportsListing
from progresskit.backends.parts import JobWithParts, PartsBackend
from progresskit.backends.stores import ServerClock
from progresskit.decoding import decode_each
from progresskit.errors import ConfigurationError
from progresskit.registry import missing_package
from progresskit.urls import check_server_url

from .connections import Connections
from .driver import EXAMPLES
from .rows import Changes, digest_of, part_of, record_of, row_of, row_of_part
from .tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Self

    from progresskit.backends.parts import DecideParts
    from progresskit.backends.stores import Decide, StoredRecord
    from progresskit.config import Settings
    from progresskit.parts import Part
    from progresskit.progress import Progress, State, Write

    from .driver import Driver
    from .rows import TableRecord

DRIVERS = {
    "sqlite": ("progresskit_sql.sqlite", "SQLite"),
    "postgresql": ("progresskit_sql.postgresql", "PostgreSQL"),
    "mysql": ("progresskit_sql.mysql", "MySQL"),
    "mariadb": ("progresskit_sql.mysql", "MariaDB"),
}
"""Where the driver of a database is found; it is imported when it is needed."""

CONFLICT_TRIES = 8
"""How often a transaction is tried while other sessions are in its way, the later ones after short pauses."""

PIECE = 500
"""How many ids, or digests of parts, are in one query."""

SWEEP_SECONDS = 60.0
"""How often a process deletes expired records."""

SWEEP_ROWS = 500
"""How many of them at once; if there are more, the next write goes on with it."""

SWEEP_PARTS = 5_000
"""How many of the parts of expired jobs at once."""


class SQLBackend(PartsBackend, SupportsListing):
    """
    Keeps one row a job in the table `<prefix>_jobs`, and one a part in `<prefix>_parts`, which are made on first use.

    `database` is a URL, or an Engine, which is used with the settings it has and is never closed. `clock` (seconds
    since the epoch) takes the place of the server's clock, or of the host's where there is no server. Where the
    database can push changes, an object of a subclass is made, which does.

    A transaction reads the rows of jobs, locked in the order of their ids, and stores those that the fold has changed.
    """

    def __new__(cls, database: sa.Engine | sa.URL | str, **options: Any) -> Self:
        """Choose the class."""
        url = _url(database)
        pushing = _driver(url).pushing(url) if cls is SQLBackend else None
        return object.__new__(pushing or cls)  # type: ignore[return-value]

    def __init__(
        self,
        database: sa.Engine | sa.URL | str,
        *,
        prefix: str = "progresskit",
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        url = _url(database)
        self._driver = _driver(url)(url, prefix)
        self._tables = Tables(url.get_backend_name(), prefix, self._driver.schema)
        self._connections = Connections(
            self._driver, self._tables, database if isinstance(database, sa.Engine) else None
        )
        self._clock = ServerClock(clock or self._driver.clock)
        self._sweep_at = 0.0
        self._found = False
        self.shared = self._driver.shared

    def __str__(self) -> str:
        return str(self._connections)

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
        missing = self._driver.missing()
        self._found = missing is None
        return missing

    def transact(self, ids: Collection[str], decide: Decide) -> None:
        """Hold the rows in a transaction."""
        if not self.missing():
            with self._connections.checkout() as checkout:
                self._decided(checkout.connection, ids, {}, _without_parts(decide))

    def transact_writes(self, writes: Mapping[str, Write], decide: Decide) -> None:
        """Do the same for writes."""
        self.transact_with_parts(writes, {}, _without_parts(decide))

    def transact_with_parts(
        self, writes: Mapping[str, Write], names: Mapping[str, Sequence[str]], decide: DecideParts
    ) -> None:
        """Do the same; the lock on a job's row is one on its parts."""
        with self._connections.checkout() as checkout:
            self.check_server(checkout.home)
            self._decided(checkout.connection, {**writes, **names}, names, decide)
            self._sweep(checkout.connection)

    def _decided(
        self, connection: sa.Connection, ids: Collection[str], names: Mapping[str, Sequence[str]], decide: DecideParts
    ) -> None:
        """Store what `decide` returns, and again where another session was in the way."""
        for tries in range(CONFLICT_TRIES):
            try:
                with self._driver.transaction(connection):
                    self._decide(connection, sorted(ids), names, decide)
                return
            except sa.exc.DBAPIError as error:
                if error.orig is None or not self._driver.is_conflict(error.orig) or tries == CONFLICT_TRIES - 1:
                    raise
            sleep(0.002 * tries)

    def _decide(
        self, connection: sa.Connection, ids: Sequence[str], names: Mapping[str, Sequence[str]], decide: DecideParts
    ) -> None:
        rows = {row[0]: row for row in self._rows(connection, self._tables.lock, ids)}
        before = {id: decode_each(id, record_of, row) for id, row in rows.items()}
        keys = {id: row.parts_key for id, row in before.items() if row and row.parts_key is not None and id in names}
        parts = self._parts(connection, keys, names)
        changes = Changes(now := self._now(connection))
        for id in ids:
            known = before.get(id)
            of_job = {}
            if id in keys:
                found = ((name, parts.get((keys[id], digest_of(name)))) for name in names[id])
                of_job = {name: part for name, part in found if part is not None}
            job = decide(id, known and known.record, of_job, now)
            if job is not None:
                changes.add(id, known, job, is_there=id in rows)
        self._store(connection, changes)

    def _parts(
        self, connection: sa.Connection, keys: Mapping[str, int], names: Mapping[str, Sequence[str]]
    ) -> dict[tuple[int, int], Part]:
        """Return the stored ones of those parts, and maybe others."""
        found: dict[tuple[int, int], Part] = {}
        for ids in _pieces([*keys], 50):
            for digests in _pieces(sorted({digest_of(name) for id in ids for name in names[id]})):
                values = {"keys": [keys[id] for id in ids], "digests": digests}
                found |= map(part_of, connection.execute(self._tables.read_parts, values))
        return found

    def _store(self, connection: sa.Connection, changes: Changes) -> None:
        """Replace rows that are locked, and insert the others: a conflict where another session has done so."""
        tables, rows = self._tables, {id: row_of(id, changes.records[id]) for id in sorted(changes.records)}
        there = [row | tables.for_earlier for id, row in rows.items() if id not in changes.added]
        added = [row | tables.for_earlier for id, row in rows.items() if id in changes.added]
        parts = [row_of_part(*key, changes.parts[key]) for key in sorted(changes.parts)]
        if changes.deleted:
            connection.execute(tables.delete, {"ids": changes.deleted})
        for statement, some in ((tables.replace, there), (tables.insert, added), (tables.replace_parts, parts)):
            if some:
                connection.execute(statement, some)
        if rows:
            self._driver.stored(connection, changes)

    def _sweep(self, connection: sa.Connection) -> None:
        """Delete expired records and their parts, but none that another session has locked."""
        if self._clock.now < self._sweep_at:
            return
        now, tables = self._now(connection), self._tables
        self._sweep_at = now + SWEEP_SECONDS
        ids = connection.execute(tables.gone, {"now": now, "limit": SWEEP_ROWS}).scalars().all()
        if not ids:
            return
        with self._driver.transaction(connection):
            locked = connection.execute(tables.lock_gone, {"ids": ids, "now": now})
            keys: dict[str, int | None] = dict(map(tuple, locked))
            values = {"keys": [key for key in keys.values() if key is not None], "limit": SWEEP_PARTS}
            parts = connection.execute(tables.gone_parts, values).all() if values["keys"] else []
            if parts:
                connection.execute(tables.delete_parts, [{"key": key, "last": last} for key, last, _ in parts])
            are_left = sum(count for *_, count in parts) == SWEEP_PARTS
            if swept := [id for id, key in keys.items() if key is None or not are_left]:
                connection.execute(tables.delete, {"ids": swept})
        if are_left or len(ids) == SWEEP_ROWS:
            self._sweep_at = now

    def _now(self, connection: sa.Connection) -> float:
        return self._clock(lambda: float(connection.exec_driver_sql(self._driver.time).scalar_one()))

    def _rows(self, connection: sa.Connection, statement: Any, ids: Sequence[str]) -> Iterator[sa.Row[Any]]:
        for piece in _pieces(ids):
            yield from connection.execute(statement, {"ids": piece})

    def load(self, ids: Collection[str]) -> tuple[dict[str, StoredRecord], float]:
        """Read the rows by one query, or one for each PIECE."""
        if self.missing():
            return {}, 0.0
        with self._connections.checkout() as checkout:
            rows = [*self._rows(checkout.connection, self._tables.read, [*ids])]
            return _records(rows), self._now(checkout.connection)

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked, without their records."""
        if self.missing() or not ids:
            return set()
        with self._connections.checkout() as checkout:
            now, found = self._now(checkout.connection), set[str]()
            for piece in _pieces([*ids]):
                found.update(checkout.connection.execute(self._tables.cancels, {"ids": piece, "now": now}).scalars())
        return found

    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> list[Progress]:
        """Return the jobs written last, newest first."""
        if self.missing():
            return []
        asked, jobs = limit, self._tables.jobs.c
        query = self._tables.newest
        if kind is not None:
            query = query.where(jobs.kind == kind)
        if states is not None:
            query = query.where(jobs.state.in_([state.value for state in states]))
        if part_of is not None:
            query = query.where(jobs.body.contains(f'"part_of":"{part_of}"', autoescape=True))
        while True:
            with self._connections.checkout() as checkout:
                now = self._now(checkout.connection)
                rows = checkout.connection.execute(query, {"now": now, "limit": asked}).all()
            records = self.progress_of(_records(rows), now).values()
            found = [job for job in records if part_of in (None, job.part_of) and kind in (None, job.kind)]
            if len(found) >= limit or len(rows) < asked:
                return found[:limit]
            asked += asked - len(found)  # as many more as could not be decoded, or were not asked for

    def close(self) -> None:
        """Close the connections, unless they are of an engine that was given; a later call opens new ones."""
        self._connections.close()
        super().close()

    def after_fork_in_child(self) -> None:
        """Use no connection of the parent's."""
        self._connections.after_fork_in_child()
        super().after_fork_in_child()


def ddl(database: sa.URL | str, *, prefix: str = "progresskit") -> list[str]:
    """
    Return the statements that make the tables of a database at that URL, for a migration to run.

    No connection is made, and of the URL only the kind of database counts: `ddl("postgresql://")`.
    """
    url = _url(database)
    return Tables(url.get_backend_name(), prefix, _driver(url)(url, prefix).schema).ddl()


def _without_parts(decide: Decide) -> DecideParts:
    """Return a decision about jobs that leaves their parts as they are."""

    def decide_job(id: str, record: StoredRecord | None, parts: object, now: float) -> JobWithParts | None:
        after = decide(id, record, now)
        return None if after is None else JobWithParts(after, {}, is_written=True, is_new=True)

    return decide_job


def _records(rows: Sequence[sa.Row[Any]]) -> dict[str, StoredRecord]:
    found: list[tuple[str, TableRecord | None]] = [(row[0], decode_each(row[0], record_of, row)) for row in rows]
    return {id: row.record for id, row in found if row is not None}


def _pieces(items: Sequence[Any], size: int = PIECE) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def _url(database: sa.Engine | sa.URL | str) -> sa.URL:
    if isinstance(database, sa.Engine):
        return database.url
    try:
        url = sa.make_url(database)
    except (sa.exc.ArgumentError, ValueError):
        raise _no_url(database) from None
    if isinstance(database, str):
        _check_secrets(database, url)
    return url


def _check_secrets(text: str, url: sa.URL) -> None:
    """Refuse a URL of which parts of a password would be shown as something else."""
    if url.get_backend_name() != "sqlite":
        check_server_url(text)
    elif url.drivername in {"sqlite", "sqlite+pysqlite"} and not re.match(r"[^:]+://(/|\?|$)", text):
        raise _no_url(text)  # a file has no host


def _no_url(database: sa.URL | str) -> ConfigurationError:
    # SQLAlchemy's message may hold the URL, and the URL a password.
    kind = str(database).partition("://")[0].partition("+")[0]
    return ConfigurationError(f"not a database URL; one looks like {EXAMPLES.get(kind, EXAMPLES['sqlite'])}")


def _driver(url: sa.URL) -> type[Driver]:
    name = url.get_backend_name()
    if name not in DRIVERS:
        raise ConfigurationError(f"progresskit_sql does not know the database {name!r}; it knows {', '.join(DRIVERS)}")
    module, attribute = DRIVERS[name]
    try:
        driver: type[Driver] = getattr(import_module(module), attribute)
    except ImportError as error:
        raise missing_package(f"{name}://", error, "sql") from error
    return driver
