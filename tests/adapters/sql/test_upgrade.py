"""A table that the first version made, with what it had stored, serves this version: it is completed on first use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Barrier
from time import time
from typing import NoReturn

import pytest
from sqlalchemy import create_engine

from progresskit.errors import BackendUnavailable
from progresskit.parts import Parts
from progresskit.progress import State, Version, encode
from progresskit.testing import LIFE, external_update, record, start, update
from progresskit.testing.helpers import insist, read
from progresskit.testing.parts import report, send
from progresskit_sql import SQLBackend
from tests.services import missing, server

SCHEMAS = Path(__file__).with_name("first_schemas")
SAID_LAST = {"postgresql": "role", "mariadb": "fate"}
AT_ONCE = 8


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, missing_service: Callable[..., NoReturn]) -> str:
    """Give the URL of a database with the first version's table: a job that runs, and one that has ended."""
    name: str = request.param
    if name != "sqlite" and (reason := missing(name)):
        missing_service(name, reason)
    url = f"sqlite:///{tmp_path}/progress.db" if name == "sqlite" else server(name).fresh()
    rows = []
    for id, state in (("live", State.RUNNING), ("done", State.SUCCEEDED)):
        columns = {"id": id, "run": 2, "attempt": 1, "seq": 5, "token": "worker", "state": state.value, "lease": 600.0}
        columns |= {"heard_at": time(), "expires_at": time() + 600, "body": encode(record(id, state, current=5))}
        if name in SAID_LAST:
            columns[SAID_LAST[name]] = 2
        rows.append(columns)
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in (SCHEMAS / f"{name}.sql").read_text("utf-8").rstrip(";\n").split(";\n\n"):
            connection.exec_driver_sql(statement)
        for columns in rows:
            values = ", ".join(f"'{value}'" for value in columns.values())
            connection.exec_driver_sql(f"INSERT INTO progresskit_jobs ({', '.join(columns)}) VALUES ({values})")
    engine.dispose()
    return url


def test_what_the_first_version_stored_is_read_and_goes_on(url: str) -> None:
    with closing(SQLBackend(url)) as backend:
        assert {id: job.cursor for id, job in backend.read(["live", "done"]).items()} == {
            "live": "0-2.1.5",
            "done": "0-2.1.5",
        }
        backend.write([update("live", 6, run=2, current=6)])
        assert (read(backend, "live").current, read(backend, "live").version) == (6, Version(2, 1, 6))
        backend.write([external_update("live", State.FAILED, age=1)])
        assert read(backend, "live").state is State.FAILED
        assert backend.write([start("done", token="next"), start("new")]) == {"done": 3, "new": 1}
        assert read(backend, "new").cursor == f"{LIFE}-1.1.1"
        before = read(backend, "done")
        backend.write([update("done", 5, run=2, state=State.SUCCEEDED, late=True, age=90)])
        backend.write([external_update("done", State.FAILED, age=90)])
        assert read(backend, "done") == before


def test_a_table_with_some_of_the_columns_gets_the_others_and_adds_up_parts(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE progresskit_jobs ADD COLUMN born BIGINT NOT NULL DEFAULT 0")
    engine.dispose()
    with closing(SQLBackend(url)) as backend:
        assert send(backend, [], [report("live", "a", State.SUCCEEDED)]) == {"live": "worker"}
        assert (read(backend, "live").parts, read(backend, "live").version) == (Parts(None, 1, 0, 0, 0), (2, 1, 5))


def test_processes_that_come_at_once_complete_it_once(url: str) -> None:
    backends = [SQLBackend(url) for _ in range(AT_ONCE)]
    begin = Barrier(AT_ONCE)

    def come(backend: SQLBackend) -> str:
        begin.wait()
        with suppress(BackendUnavailable):
            backend.write([update("live", 6, run=2)])
        insist(lambda: backend.write([update("live", 6, run=2)]))
        return str(insist(lambda: read(backend, "live")).version)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert [*threads.map(come, backends)] == ["2.1.6"] * AT_ONCE
    for backend in backends:
        backend.close()


def test_the_first_version_still_writes_beside_this_one(url: str) -> None:
    # As during a deployment: it names the columns that it knows, and no others.
    with closing(SQLBackend(url)) as backend:
        assert backend.read(["live"])
        copied = "run, attempt, seq, token, state, lease, heard_at, expires_at, body"
        engine = create_engine(url)
        if engine.dialect.name in SAID_LAST:
            copied += f", {SAID_LAST[engine.dialect.name]}"
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO progresskit_jobs (id, {copied}) "
                f"SELECT 'other', {copied} FROM progresskit_jobs WHERE id = 'live'"
            )
            connection.exec_driver_sql("UPDATE progresskit_jobs SET seq = 9, token = 'another' WHERE id = 'live'")
        engine.dispose()
        for id, token, seq in (("live", "another", 9), ("other", "worker", 5)):
            assert backend.read([id])[id].version == Version(2, 1, seq)
            backend.write([update(id, seq + 1, token=token, run=2)])
            assert read(backend, id).version == Version(2, 1, seq + 1)
