"""The fold of MariaDB and MySQL stores, column by column, what the pure fold says."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import pytest
from hypothesis import given

from progresskit.progress import State, Stored
from progresskit.testing import FakeClock
from progresskit_sql import SQLBackend
from tests.adapters.sql.fold import ADDED, History, Row, histories, opened, play, thorough, write_together_and_alone
from tests.services import missing, server


@pytest.fixture(scope="module")
def url(missing_service: Callable[..., NoReturn]) -> str:
    if reason := missing("mariadb"):
        missing_service("mariadb", reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # PyMySQL leaves the socket of a refused connection behind
        url = server("mariadb").fresh()
        gc.collect()
    return url


class Database:
    """A backend, and a look at its table behind its back."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock(0)
        self.backend = SQLBackend(url, clock=self.clock)
        self.viewer = SQLBackend(url)
        self.backend.read(["nothing"])

    def row(self, id: str) -> Row:
        columns = f"run, attempt, seq, token, state, body, verdict, created, cancel_requested, {ADDED}"
        query = f"SELECT {columns}, kind, lease, heard_at, expires_at FROM progresskit_jobs WHERE id = %s"
        with self.viewer._connections.checkout() as checkout, checkout.connection.cursor() as cursor:
            cursor.execute(query, [id])
            row: tuple[Any, ...] = cursor.fetchone()
        stored = Stored(*row[:12])
        token = None if stored.token is None else bytes(stored.token).decode()  # type: ignore[arg-type]
        stored = stored._replace(
            token=token,
            state=State(stored.state),
            created=opened(stored.created, stored.body),
            cancel_requested=bool(row[8]),
            restored=bool(row[10]),
        )
        return stored, *row[12:]


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    with closing(database.viewer), closing(database.backend):
        yield database


@thorough
@given(histories)
def test_any_history_is_stored_as_the_pure_fold_stores_it(database: Database, history: History) -> None:
    play(database, history)


def test_a_batch_comes_out_as_its_writes_would_one_by_one_and_in_any_order(database: Database) -> None:
    write_together_and_alone(database)
