"""The list of jobs that the page shows, in a SQLite file: it outlives the page, and all tabs share it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime
from time import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Job(NamedTuple):
    """One entry; `files` is the name of its files in the folder, and `queued` is in seconds since the epoch."""

    id: str
    files: str
    kind: str
    title: str
    queued: float

    @property
    def queued_at(self) -> datetime:
        """When it was sent to the queue, in the time of this machine."""
        return datetime.fromtimestamp(self.queued).astimezone()


class Jobs:
    """Adds, lists and forgets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE jobs (id TEXT PRIMARY KEY, files TEXT, kind TEXT, title TEXT, queued REAL)"
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection

    def add(self, id: str, files: str, kind: str, title: str) -> Job:
        """Add a job that is sent to the queue now."""
        job = Job(id, files, kind, title, time())
        with self._open() as connection:
            connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", job)
        return job

    def all(self) -> list[Job]:
        """Return all, the newest first."""
        with self._open() as connection:
            return [Job(*row) for row in connection.execute("SELECT * FROM jobs ORDER BY queued DESC, rowid DESC")]

    def get(self, id: str) -> Job | None:
        """Return one."""
        with self._open() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        return None if row is None else Job(*row)

    def forget(self, ids: Iterable[str]) -> None:
        """Take these from the list."""
        with self._open() as connection:
            connection.executemany("DELETE FROM jobs WHERE id = ?", [(id,) for id in ids])
