"""Where the database is, how it is opened, and which of its errors pass."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import QueuePool, create_engine
from sqlalchemy.exc import ArgumentError

from progresskit.errors import ConfigurationError
from progresskit.urls import redact_path
from progresskit_sql.dialect import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Engine

BUSY_SECONDS = 1.0
"""How long a call waits for a database that another process has locked."""

CANNOT_NOW = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    )
)
"""The errors after which the same may succeed later."""

PASSING = ("no such table", "closed database")
"""Messages of errors that have no code of their own and are gone with the next connection."""


OPTIONS = frozenset(("uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"))
"""The options of the driver; the rest is for SQLite itself, and reaches it with `uri=true` only."""


def unavailable(error: Exception) -> bool:
    """Say whether the same may succeed later; the bits of a result code above its lowest byte are detail."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    return code in CANNOT_NOW or any(message in str(error) for message in PASSING)


def is_memory(url: URL) -> bool:
    """Say whether the database is in the memory of this process."""
    database = url.database or ":memory:"
    return ":memory:" in database or "mode=memory" in database or url.query.get("mode") == "memory"


def missing_file(url: URL) -> str | None:
    """Return the path of the database if no file is there, nor a name that only SQLite can read."""
    database = url.database or ""
    if is_memory(url) or database.startswith("file:") or os.path.exists(database):
        return None
    return os.path.abspath(database)


def check_driver(url: URL) -> None:
    """Raise ConfigurationError for the URL of another driver; without one it is ours."""
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise ConfigurationError(f"{url.drivername}:// is another driver's; progresskit needs sqlite://")


def make_engine(url: URL) -> Engine:
    """Make an engine in autocommit mode; a database in memory has one connection, lent to one call at a time."""
    if "uri" not in url.query:
        for name in url.query.keys() - OPTIONS:
            raise ConfigurationError(f"the URL's option {name} is not known, or needs uri=true beside it")
    if not is_memory(url):
        _check_folder(url)
    sizes = {"pool_size": 1, "max_overflow": 0} if is_memory(url) else {"pool_size": 4, "max_overflow": -1}
    try:
        engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            poolclass=QueuePool,
            pool_reset_on_return=None,
            connect_args={"check_same_thread": False} | ({} if "timeout" in url.query else {"timeout": BUSY_SECONDS}),
            **sizes,
        )
    except ArgumentError:
        raise ConfigurationError(f"not the URL of an SQLite file; one looks like {EXAMPLES['sqlite']}") from None
    except ValueError as error:
        raise ConfigurationError(f"an option of the URL cannot be read: {error}") from None
    return engine


def _check_folder(url: URL) -> None:
    path = os.path.abspath(url.database or "")
    if os.path.isdir(path):
        shown = redact_path(path)
        raise ConfigurationError(
            f"{shown} is a folder; the URL must name the file in it, as in sqlite:///{shown}/progress.db"
        )
    folder = os.path.dirname(path)
    if not (url.database or "").startswith("file:") and not os.path.isdir(folder):
        shown, database = redact_path(folder), redact_path(url.database or "")
        raise ConfigurationError(f"there is no folder {shown} for {database}; make it, or correct the URL")


def prepare(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work concurrently, and a commit wait for no disk."""
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # Where two processes do so to a new file at once, SQLite fails one of them without waiting.
    deadline = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                raise
            sleep(0.01)


class Home(NamedTuple):
    """Which database a connection leads to: a path, and the device and inode of the file that was there."""

    path: str
    file: tuple[int, int] | None

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Home:
        """Ask the connection, which knows better than a URL."""
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        return cls(path, _file(path))

    @property
    def is_there(self) -> bool:
        """True while that same file is at that path; SQLite itself would go on with a file that was removed."""
        return not self.path or (self.file is not None and self.file == _file(self.path))


def _file(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def autocommit(connection: sqlite3.Connection) -> Iterator[None]:
    """Switch off the transactions that the driver begins by itself, in both of the ways that it has."""
    ways = ("isolation_level", "autocommit")
    before = {way: getattr(connection, way) for way in ways if hasattr(connection, way)}
    if before.get("autocommit") is False:
        connection.autocommit = True  # type: ignore[attr-defined,unused-ignore]
    connection.isolation_level = None
    try:
        yield
    finally:
        for way, value in before.items():
            setattr(connection, way, value)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the right to write from the beginning, so that no statement in between finds it taken."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have ended it already
            connection.execute("ROLLBACK")
        raise
