"""What the SQL backend promises beyond the contract of all backends."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import StaticPool

from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.kit import Kit
from progresskit.progress import State
from progresskit.registry import backend_class
from progresskit.testing import FakeClock
from progresskit.testing.writes import external_update, start, update
from progresskit_sql import SQLBackend, ddl
from progresskit_sql.sqlite import SQLite
from tests.adapters.sql.calls import CALLS


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


def test_the_registry_finds_it_by_the_scheme_of_the_url(path: Path) -> None:
    url = f"sqlite:///{path}"
    with closing(backend_class(url).from_url(url, Settings(url=url, prefix="shop"))) as backend:
        backend.write([start("job")])
    assert rows(path, "SELECT id FROM shop_jobs") == [("job",)]


def test_nothing_is_opened_before_it_is_needed(path: Path, backend: SQLBackend) -> None:
    assert not path.exists()
    assert backend.read([]) == {}
    assert backend.write([]) == {}
    assert not path.exists()
    backend.write([start("job")])
    assert path.exists()


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
        ("sqlite:///progress.db?timeout=soon", "an option of the URL cannot be read: "),
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


def test_a_file_is_shared(backend: SQLBackend) -> None:
    assert backend.shared


@pytest.mark.parametrize("prefix", ["my-app", "my app", 'quo"ted', "se'lect", "{x}", "%s", "größe", "1"])
def test_any_prefix_will_do(prefix: str, path: Path) -> None:
    with closing(SQLBackend(f"sqlite:///{path}", prefix=prefix)) as backend:
        backend.write([start("job")])
        backend.write([external_update("job", State.FAILED)])
        assert backend.request_cancel(["job"]) == backend.cancel_requested(["job"]) == set()
        assert backend.list(kind=None, states=None, limit=9) == [*backend.read(["job"]).values()]
    assert (f"{prefix}_jobs",) in rows(path, "SELECT name FROM sqlite_master")


def test_the_table_can_be_made_by_a_migration_and_is_the_same(path: Path, backend: SQLBackend) -> None:
    schema = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    with closing(sqlite3.connect(path)) as connection:
        for statement in ddl("sqlite://") * 2:
            connection.execute(statement)
    made = rows(path, schema)
    backend.write([start("job")])
    assert rows(path, schema) == made
    assert len(made) == 4


def test_prefixes_do_not_see_each_other(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    with closing(SQLBackend(f"sqlite:///{path}", prefix="other")) as other:
        assert other.read(["job"]) == {}


# A given engine.


def test_a_given_engine_is_used_and_never_closed(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    opened, closed = list[object](), list[object]()
    event.listen(engine, "connect", lambda connection, record: opened.append(connection))
    event.listen(engine, "close", lambda connection, record: closed.append(connection))
    backend = SQLBackend(engine)
    backend.write([start("job"), start("other")])
    backend.close()
    assert len(opened) == 1
    assert closed == []
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM progresskit_jobs").scalar_one() == 2
    engine.dispose()


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


def test_progress_shows_while_the_jobs_own_transaction_is_open(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with closing(SQLBackend(f"sqlite:///{path}")) as backend, engine.connect() as connection:
        backend.write([start("job")])
        assert connection.exec_driver_sql("SELECT count(*) FROM progresskit_jobs").scalar_one() == 1
        backend.write([update("job", 2, current=2)])
        with closing(SQLBackend(f"sqlite:///{path}")) as viewer:
            assert viewer.read(["job"])["job"].current == 2
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


def test_what_has_expired_is_deleted_little_by_little(path: Path, backend: SQLBackend, clock: FakeClock) -> None:
    for batch in range(12):
        backend.write([start(f"job-{batch}-{number}", ttl=10) for number in range(100)])
    backend.write([start("lives", ttl=1_000)])
    counts = []
    for _ in range(4):
        clock.advance(61)
        backend.write([update("lives", 2, ttl=1_000)])
        counts += rows(path, "SELECT count(*) FROM progresskit_jobs")
    assert counts == [(701,), (201,), (1,), (1,)]


def test_a_pass_that_left_some_is_followed_by_another_at_once(
    path: Path, backend: SQLBackend, clock: FakeClock
) -> None:
    backend.write([start(f"job-{number}", ttl=10) for number in range(1_200)])
    clock.advance(61)
    for _ in range(3):
        backend.write([start("lives")])
    assert rows(path, "SELECT count(*) FROM progresskit_jobs") == [(1,)]


@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        ("list", {"now": 0, "kind": None, "states": None, "limit": 5, "member": None}, "progresskit_jobs_by_heard_at"),
        ("sweep", {"now": 0, "limit": 5}, "progresskit_jobs_by_expires_at"),
        ("read", {"now": 0, "ids": "[]"}, "sqlite_autoindex_progresskit_jobs_1"),
    ],
)
def test_each_query_goes_by_an_index(
    name: str, values: dict[str, object], index: str, path: Path, backend: SQLBackend
) -> None:
    backend.write([start("job")])
    assert isinstance(backend._dialect, SQLite)
    statement = backend._dialect._sql[name]
    with closing(sqlite3.connect(path)) as connection:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))
    assert index in plan
    assert "TEMP B-TREE" not in plan


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


@pytest.mark.timing
def test_beside_a_cpu_bound_thread_a_batch_waits_for_the_interpreter_a_few_times_and_not_once_a_row(
    path: Path, backend: SQLBackend
) -> None:
    ids = [f"job-{number}" for number in range(400)]
    backend.write([start(id) for id in ids])
    batch = [update(id, 2) for id in ids]
    done = Event()

    def work() -> None:
        number = 0
        while not done.is_set():
            for _ in range(10_000):
                number += 1

    def elapsed() -> float:
        began = perf_counter()
        backend.write(batch)
        backend.read(ids)
        return perf_counter() - began

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    # On a machine that is busy with other things, any one of them may take long; once a row takes long each time.
    quickest = min(elapsed() for _ in range(5))
    done.set()
    for thread in threads:
        thread.join()
    assert quickest < len(ids) * sys.getswitchinterval(), "once a row would take longer than this"


# Errors.


def test_what_cannot_be_stored_at_all_is_a_backend_error_and_the_batch_is_taken_whole_or_not(
    backend: SQLBackend,
) -> None:
    for bad in (update("bad", 2**70), update("bad", 2)._replace(body="\ud800")):
        with pytest.raises(BackendError) as raised:
            backend.write([start("good"), bad])
        assert not isinstance(raised.value, BackendUnavailable)
    assert backend.read(["good", "bad"]) == {}
    assert backend.write([start("good")]) == {"good": 1}


def test_a_backend_that_was_closed_opens_again_when_it_is_used(backend: SQLBackend) -> None:
    backend.write([start("job")])
    backend.close()
    assert backend.read(["job"]).keys() == {"job"}


def test_an_error_names_the_database_without_a_password_or_query(tmp_path: Path) -> None:
    backend = SQLBackend(f"sqlite:///{tmp_path}/progress.db?timeout=1")
    (tmp_path / "progress.db").mkdir()
    with pytest.raises(BackendUnavailable, match=r"progress\.db: unable to open database file$"):
        backend.read(["job"])


@pytest.mark.parametrize("call", CALLS)
def test_every_call_reports_a_dropped_table_once_and_then_makes_it_again(
    call: Callable[[SQLBackend], object], path: Path, backend: SQLBackend
) -> None:
    backend.write([start("job")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE progresskit_jobs")
    with pytest.raises(BackendUnavailable):
        call(backend)
    call(backend)
    assert backend.write([start("job", token="next")])["job"] in {1, 2}


def test_the_next_write_of_a_job_makes_the_row_again_that_was_deleted(path: Path, backend: SQLBackend) -> None:
    backend.write([start("live"), start("ending"), start("ended", state=State.SUCCEEDED)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM progresskit_jobs")
    backend.write([update("live", 2, current=2), update("ending", 2, state=State.FAILED)])
    records = backend.read(["live", "ending", "ended"])
    assert {id: record.state for id, record in records.items()} == {"live": State.RUNNING, "ending": State.FAILED}
