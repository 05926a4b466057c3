"""The fold of PostgreSQL stores, column by column, what the pure fold says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import psycopg
import pytest
from hypothesis import given

from progresskit.progress import State, Stored
from progresskit.testing import FakeClock
from progresskit_sql import SQLBackend
from tests.adapters.sql.fold import ADDED, History, Row, histories, opened, play, thorough, write_together_and_alone
from tests.services import missing, server


class Database:
    """A backend, and a look at its table behind its back."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock(0)
        self.backend = SQLBackend(url, clock=self.clock)
        self.backend.read(["nothing"])
        self.connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)

    def row(self, id: str) -> Row:
        columns = f"run, attempt, seq, token, state, body, verdict, created, cancel_requested, {ADDED}"
        query = f"SELECT {columns}, kind, lease, heard_at, expires_at FROM progresskit_jobs WHERE id = %s"
        row: tuple[Any, ...] | None = self.connection.execute(query.encode(), [id]).fetchone()
        assert row is not None
        stored = Stored(*row[:12])
        created = opened(stored.created, stored.body)
        return stored._replace(state=State(stored.state), created=created), *row[12:]


@pytest.fixture
def database(missing_service: Callable[..., NoReturn]) -> Iterator[Database]:
    if reason := missing("postgresql"):
        missing_service("postgresql", reason)
    database = Database(server("postgresql").fresh())
    with closing(database.connection), closing(database.backend):
        yield database


@thorough
@given(histories)
def test_any_history_is_stored_as_the_pure_fold_stores_it(database: Database, history: History) -> None:
    play(database, history)


def test_a_batch_comes_out_as_its_writes_would_one_by_one_and_in_any_order(database: Database) -> None:
    write_together_and_alone(database)
