"""The SQL fold stores, column by column, what the pure fold says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given

from progresskit.progress import State, Stored
from progresskit.testing import FakeClock
from progresskit_sql import SQLBackend
from tests.adapters.sql.fold import ADDED, History, Row, histories, opened, play, thorough


class Database:
    """A backend, and a look at its table behind its back."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock(0)
        self.backend = SQLBackend(f"sqlite:///{path}", clock=self.clock)
        self.backend.read(["nothing"])
        self.connection = sqlite3.connect(path)

    def row(self, id: str) -> Row:
        columns = f"run, attempt, seq, token, state, body, verdict, created, cancel_requested, {ADDED}"
        row = self.connection.execute(
            f"SELECT {columns}, kind, lease, heard_at, expires_at FROM progresskit_jobs WHERE id = ?", [id]
        ).fetchone()
        stored = Stored(*row[:12])
        stored = stored._replace(
            state=State(stored.state),
            created=opened(stored.created, stored.body),
            cancel_requested=bool(row[8]),
            restored=bool(row[10]),
        )
        return stored, *row[12:]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "progress.db")
    with closing(database.connection), closing(database.backend):
        yield database


@thorough
@given(histories)
def test_any_history_is_stored_as_the_pure_fold_stores_it(database: Database, history: History) -> None:
    play(database, history)
