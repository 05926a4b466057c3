"""The fold of MariaDB and MySQL stores, column by column, what the pure fold says."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NoReturn

import pytest
from hypothesis import given

from progresskit.progress import State, Stored, encode, moment
from progresskit.testing import FakeClock
from progresskit.testing.writes import record
from progresskit_sql import SQLBackend
from progresskit_sql.mysql.upserts import TAIL, created
from tests.adapters.sql.fold import ADDED, History, Row, histories, play, shown, thorough, write_together_and_alone
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
        with self.viewer._connections.lend() as lent, lent.connection.cursor() as cursor:
            cursor.execute(query, [id])
            row: tuple[Any, ...] = cursor.fetchone()
        stored = Stored(*row[:12])
        token = None if stored.token is None else bytes(stored.token).decode()  # type: ignore[arg-type]
        stored = stored._replace(
            token=token, state=State(stored.state), cancel_requested=bool(row[8]), restored=bool(row[10])
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
    play(database, history, lambda stored: (stored.created, shown(stored)))


def test_a_batch_comes_out_as_its_writes_would_one_by_one_and_in_any_order(database: Database) -> None:
    write_together_and_alone(database)


@pytest.mark.parametrize("created_at", [None, moment(1_700_000_000)])
@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"created_at": "1970-01-01T00:00:00.000Z"},
        {"a": '"created_at":"1970-01-01T00:00:00.000Z","started_at":null'},
        {"a": [{"created_at": None, "started_at": None, "lease": 1}] * 40},
    ],
)
def test_when_a_job_was_first_heard_of_is_found_in_its_record(created_at: Any, meta: dict[str, Any]) -> None:
    progress = record("job", meta=meta, created_at=created_at, finished_at=moment(3), lease=5.0)
    body = encode(progress)
    assert created(body) == progress.to_dict()["created_at"]
    assert TAIL.match(body, body.rfind('"created_at":')), "without taking it apart"


@pytest.mark.parametrize(
    "body",
    [
        '{"created_at":"right","meta":{"created_at":"wrong"}}',
        '{"created_at":"right","lease":30.0}',
        '{ "created_at" : "right" }',
        '{"created_at":"right","meta":{"created_at":null,"started_at":null,"updated_at":null,"finished_at":null,'
        '"next_retry_at":null,"lease":1}}',
    ],
)
def test_it_is_found_in_a_record_that_somebody_else_encoded(body: str) -> None:
    assert created(body) == "right"
