"""What the SQL backend promises beyond the contract of all backends."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import StaticPool

from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.kit import Kit
from progresskit.testing import FakeClock
from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(path: Path, clock: FakeClock) -> Iterator[SQLBackend]:
    with closing(SQLBackend(f"sqlite:///{path}", clock=clock)) as backend:
        yield backend


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


# The URL.


def test_who_only_looks_makes_no_file_and_finds_what_is_written_later(path: Path) -> None:
    url = f"sqlite:///{path}"
    with closing(SQLBackend(url)) as viewer, closing(SQLBackend(url)) as worker:
        assert viewer.read(["job"]) == {}
        assert viewer.list(kind=None, states=None, limit=9) == []
        assert viewer.request_cancel(["job"]) == viewer.cancel_requested(["job"]) == set()
        assert not path.exists()
        assert viewer.missing() == str(path)
        worker.write([start("job")])
        assert viewer.missing() is None
        assert viewer.read(["job"]).keys() == {"job"}
        assert viewer.request_cancel(["job"]) == {"job"}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
def test_a_url_of_a_database_in_memory_is_refused_with_what_to_use(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"use memory:// for that, or a file, as in sqlite:////absolute"):
        Kit(url)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlite:///{folder}/missing/progress.db", "there is no folder {folder}/missing"),
        ("sqlite:///{folder}", "{folder} is a folder"),
        ("sqlite://progress.db", "sqlite:////absolute/path/progress.db"),
        ("sqlite:////u:geheim@host:port/x", "there is no folder"),
        ("sqlite://u:geheim@host:port/x", "sqlite:////absolute/path/progress.db"),
        ("sqlite+aiosqlite:///progress.db", "sqlite+aiosqlite:// is another driver's; progresskit needs sqlite://"),
        ("sqlite+pysqlcipher://:geheim@/x", "sqlite+pysqlcipher:// is another driver's; progresskit needs sqlite://"),
        ("sqlite:///progress.db?mode=ro", "the URL's option mode is not known, or needs uri=true beside it"),
        ("sqlite:///progress.db?timeout=soon", "could not convert string to float"),
        ("oracle://u:geheim@host/x", "'oracle'; it knows sqlite"),
        ("geheim", "not a database URL"),
    ],
)
def test_a_mistake_in_the_url_is_reported_at_once_and_says_what_to_do(url: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SQLBackend(url.format(folder=tmp_path))
    assert hint.format(folder=tmp_path) in str(raised.value)
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
def test_a_database_in_memory_is_one_for_all_threads_and_for_no_other_process(url: str) -> None:
    with closing(SQLBackend(url)) as backend:
        assert not backend.shared
        backend.write([start("job")])
        threads = [Thread(target=lambda n=n: backend.write([start(f"{n}")])) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(backend.list(kind=None, states=None, limit=99)) == 21


def test_a_database_in_memory_outlives_an_error() -> None:
    with closing(SQLBackend("sqlite://")) as backend:
        backend.write([start("job")])
        with pytest.raises(BackendError):
            backend.write([update("job", 2**70), start("other")])
        assert backend.read(["job", "other"]).keys() == {"job"}


# A given engine.


def test_a_given_engine_keeps_its_transactions_and_its_journal(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with closing(SQLBackend(engine)) as backend:
        backend.write([start("job")])
        with engine.connect() as connection:
            connection.exec_driver_sql("UPDATE progresskit_jobs SET run = 9")
            connection.rollback()
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "delete"
        assert backend.read(["job"])["job"].version.run == 1
    engine.dispose()


def test_an_engine_that_begins_its_transactions_itself_can_be_given(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", connect_args=non_legacy())
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("SELECT 1"))
    with closing(SQLBackend(engine)) as backend:
        backend.write([start("job"), start("other")])
        with engine.connect() as connection:
            connection.exec_driver_sql("UPDATE progresskit_jobs SET run = 9")
        assert backend.read(["job"])["job"].version.run == 1
    engine.dispose()


def non_legacy() -> dict[str, bool]:
    """Return what SQLAlchemy's documentation recommends for the driver from Python 3.12 on."""
    return {"autocommit": False} if sys.version_info >= (3, 12) else {}


def test_a_given_engine_in_memory_loses_nothing_by_an_error() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with closing(SQLBackend(engine)) as backend:
        backend.write([start("job")])
        with pytest.raises(BackendError):
            backend.write([update("job", 2**70)])
        assert backend.read(["job"]).keys() == {"job"}
    engine.dispose()


# The file.


def test_readers_and_a_writer_do_not_wait_for_each_other(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


# Reading.


DAMAGE = {
    "an unknown state": "state = 'paused'",
    "bytes that are no text": "body = CAST(x'fffe7b' AS TEXT)",
    "a blob": "body = x'00ff'",
    "separators": "body = '{' || char(30) || 'good 1 1 1 running 0 0 ' || char(31) || char(31) || 'x' || char(30)",
    "a verdict that is none": "verdict = '{', state = 'failed'",
    "a time that is none": "created = 'a b', body = '['",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_row_that_cannot_be_decoded_is_absent_stops_nothing_and_is_written_over(
    damage: str, backend: SQLBackend, path: Path
) -> None:
    backend.write([start("bad"), start("good")])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE progresskit_jobs SET {damage} WHERE id = 'bad'")
    assert backend.read(["bad", "good"]).keys() == {"good"}
    assert [progress.id for progress in backend.list(kind=None, states=None, limit=9)] == ["good"]
    assert backend.request_cancel(["bad", "good"]) >= {"good"}
    backend.write([update("good", 2, current=5), start("bad", token="next", current=7)])
    assert {id: progress.current for id, progress in backend.read(["bad", "good"]).items()} == {"bad": 7, "good": 5}


# Errors.


def test_a_backend_that_was_closed_opens_again_when_it_is_used(backend: SQLBackend) -> None:
    backend.write([start("job")])
    backend.close()
    assert backend.read(["job"]).keys() == {"job"}


def test_an_error_names_the_database_without_a_password_or_query(tmp_path: Path) -> None:
    backend = SQLBackend(f"sqlite:///{tmp_path}/progress.db?timeout=1")
    (tmp_path / "progress.db").mkdir()
    with pytest.raises(BackendUnavailable, match=r"progress\.db: unable to open database file$"):
        backend.read(["job"])
