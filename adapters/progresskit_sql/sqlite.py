"""SQLite, by Python's own driver: the file is the server, and the host's clock is the one that all share."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any

from progresskit.errors import ConfigurationError
from progresskit.urls import redact_path

from .driver import Driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

BUSY_SECONDS = 1.0
"""How long a call waits for a database that another process has locked."""

CANNOT_NOW = ("BUSY", "CANTOPEN", "FULL", "INTERRUPT", "IOERR", "LOCKED", "NOMEM", "PERM", "PROTOCOL", "READONLY")
"""The errors after which the same may succeed later."""

PASSING = ("no such table", "closed database")
"""Messages of errors that have no code of their own and are gone with the next connection."""

OPTIONS = frozenset(("uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"))
"""The options of the driver; the rest is for SQLite itself, and reaches it with `uri=true` only."""

Home = tuple[str, tuple[int, int] | None]
"""Which database a connection leads to: a path, and the device and inode of the file that was there."""


class SQLite(Driver):
    """A file, or the memory of this process."""

    names = ("sqlite+pysqlite", "sqlite")
    errors = (sqlite3.Error, OverflowError, UnicodeError)
    begin = "BEGIN IMMEDIATE"  # so that no statement in between finds the right to write taken
    clock = staticmethod(time)

    def __init__(self, url: sa.URL, prefix: str) -> None:
        super().__init__(url, prefix)
        database = url.database or ":memory:"
        self.fork_safe = ":memory:" in database or "mode=memory" in database or url.query.get("mode") == "memory"
        self.shared = not self.fork_safe

    def engine(self) -> sa.Engine:
        """Make an engine; a database in memory has one connection, lent to one call at a time."""
        if "uri" not in self.url.query:
            for name in self.url.query.keys() - OPTIONS:
                raise ConfigurationError(f"the URL's option {name} is not known, or needs uri=true beside it")
        if self.shared:
            _check_folder(self.url.database or "")
        sizes = {} if self.shared else {"pool_size": 1, "max_overflow": 0}
        return self.make_engine({"check_same_thread": False, "timeout": BUSY_SECONDS}, **sizes)

    def prepare(self, connection: sa.Connection) -> None:
        """Let readers and a writer work concurrently, and a commit wait for no disk."""
        driver, deadline = connection.connection.cursor(), monotonic() + BUSY_SECONDS
        while True:
            try:
                driver.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # Where two processes do so to a new file at once, SQLite fails one of them without waiting.
                if _code(error) != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                    raise
                sleep(0.01)
        driver.execute("PRAGMA synchronous = NORMAL")
        driver.close()

    def home(self, connection: sa.Connection, own: bool) -> Home:
        """Ask the connection, which knows better than a URL."""
        path = connection.exec_driver_sql("PRAGMA database_list").all()[0][2]
        return path, _file(path)

    def leads_home(self, home: Home) -> bool:
        """Say whether that same file is at that path; SQLite itself would go on with a file that was removed."""
        path, file = home
        return not path or (file is not None and file == _file(path))

    def is_broken(self, connection: object) -> bool:
        """Expect the file where it was: `leads_home` looks."""
        return False

    @contextmanager
    def lent(self, connection: Any) -> Iterator[None]:
        """Switch off the transactions that the driver of Python 3.12 begins by itself, if the site asked it to."""
        begins_them = getattr(connection, "autocommit", None) is False
        if begins_them:
            connection.autocommit = True
        try:
            yield
        finally:
            if begins_them:
                connection.autocommit = False

    def missing(self) -> str | None:
        """Return the path of the file if none is there, nor a name that only SQLite can read."""
        database = self.url.database or ""
        if not self.shared or database.startswith("file:") or os.path.exists(database):
            return None
        return os.path.abspath(database)

    def passes(self, error: BaseException) -> bool:
        """Go by the result code."""
        codes = {getattr(sqlite3, f"SQLITE_{name}") for name in CANNOT_NOW}
        return _code(error) in codes or any(message in str(error) for message in PASSING)


def _code(error: BaseException) -> int:
    """Return the result code of an error; the bits above its lowest byte are detail."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF


def _check_folder(database: str) -> None:
    path = os.path.abspath(database)
    if os.path.isdir(path):
        shown = redact_path(path)
        raise ConfigurationError(
            f"{shown} is a folder; the URL must name the file in it, as in sqlite:///{shown}/progress.db"
        )
    folder = os.path.dirname(path)
    if not database.startswith("file:") and not os.path.isdir(folder):
        shown = redact_path(folder)
        raise ConfigurationError(f"there is no folder {shown} for {redact_path(database)}; make it, or correct the URL")


def _file(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
