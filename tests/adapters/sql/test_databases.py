"""What the SQL backend promises on every database, beyond the contract of all backends."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.progress import State, Version
from progresskit.registry import backend_class
from progresskit.testing import FakeClock
from progresskit.testing.helpers import read
from progresskit.testing.writes import external_update, start, update
from progresskit_sql import SQLBackend, ddl
from progresskit_sql.tables import Tables
from tests.services.waiting import wait_until

Ask = Callable[[str], list[tuple[Any, ...]]]

CALLS: list[Callable[[SQLBackend], object]] = [
    lambda backend: backend.write([start("job"), start("other")]),
    lambda backend: backend.write([update("job", 2)]),
    lambda backend: backend.read(["job"]),
    lambda backend: backend.request_cancel(["job"]),
    lambda backend: backend.cancel_requested(["job"]),
    lambda backend: backend.list(kind=None, states=None, limit=9),
]

AT_ONCE = 6


def together(*acts: Callable[[], object]) -> None:
    """Do all at once, and raise what one of them raises."""
    with ThreadPoolExecutor(len(acts)) as threads:
        for done in [threads.submit(act) for act in acts]:
            done.result()


# The tables.


def test_the_registry_finds_it_and_nothing_is_opened_before_it_is_needed(url: str, ask: Ask) -> None:
    with closing(backend_class(url).from_url(url, Settings(url=url, prefix="shop"))) as backend:
        assert backend.read([]) == {}
        assert backend.write([]) == {}
        with pytest.raises(sa.exc.DBAPIError):
            ask("SELECT id FROM shop_jobs")
        backend.write([start("job")])
    assert ask("SELECT id FROM shop_jobs") == [("job",)]


@pytest.mark.parametrize(
    "prefix",
    ["my-app", "my app", 'quo"ted', "se'lect", "back`tick", "{x}", "%s", "100%", "größe", "1", "A.b:c"],
)
def test_any_prefix_will_do_and_prefixes_do_not_see_each_other(prefix: str, url: str, backend: SQLBackend) -> None:
    backend.write([start("job")])
    with closing(SQLBackend(url, prefix=prefix)) as other:
        assert other.read(["job"]) == {}
        other.write([start("job")])
        other.write([external_update("job", State.FAILED)])
        assert other.request_cancel(["job"]) == other.cancel_requested(["job"]) == set()
        assert other.list(kind=None, states=None, limit=9) == [*other.read(["job"]).values()]
    assert backend.read(["job"])["job"].state is State.RUNNING


def test_a_migration_makes_the_tables_and_does_not_mind_when_they_are_there(
    url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        for statement in ddl(url, prefix="shop"):
            ask(statement.replace("%", "%%"))
    monkeypatch.setattr(Tables, "ddl", lambda self: pytest.fail("the backend has made them itself"))
    with closing(SQLBackend(url, prefix="shop")) as backend:
        backend.write([start("job")])
        assert backend.read(["job"]).keys() == {"job"}


def test_many_that_make_the_tables_at_once_all_succeed(url: str) -> None:
    for prefix in ("a", "b", "c"):
        begin = Barrier(AT_ONCE)

        def work(number: int, prefix: str = prefix, begin: Barrier = begin) -> None:
            with closing(SQLBackend(url, prefix=prefix)) as backend:
                begin.wait()
                backend.write([start(f"job-{number}")])

        together(*(lambda number=number: work(number) for number in range(AT_ONCE)))
        with closing(SQLBackend(url, prefix=prefix)) as backend:
            assert len(backend.list(kind=None, states=None, limit=99)) == AT_ONCE


@pytest.mark.parametrize("call", CALLS)
def test_every_call_reports_a_dropped_table_once_and_then_makes_it_again(
    call: Callable[[SQLBackend], object], backend: SQLBackend, ask: Ask
) -> None:
    backend.write([start("job")])
    ask("DROP TABLE progresskit_jobs")
    with pytest.raises(BackendUnavailable):
        call(backend)
    call(backend)
    with suppress(BackendUnavailable):  # a writer may be told that the table is another one
        backend.write([start("job", token="next")])
    assert backend.write([start("job", token="next")])["job"] in {1, 2}


def test_the_next_write_of_a_job_makes_the_row_again_that_was_deleted(backend: SQLBackend, ask: Ask) -> None:
    backend.write([start("live"), start("ending"), start("ended", state=State.SUCCEEDED)])
    ask("DELETE FROM progresskit_jobs")
    backend.write([update("live", 2, current=2), update("ending", 2, state=State.FAILED)])
    records = backend.read(["live", "ending", "ended"])
    assert {id: record.state for id, record in records.items()} == {"live": State.RUNNING, "ending": State.FAILED}


@pytest.mark.parametrize(
    "columns", ["id INT", "id VARCHAR(128) PRIMARY KEY, run INT, body TEXT, heard_at FLOAT, expires_at FLOAT"]
)
def test_a_table_of_another_shape_is_told_apart_and_the_error_names_the_remedy(
    columns: str, url: str, ask: Ask
) -> None:
    ask(f"CREATE TABLE progresskit_jobs ({columns})")
    with closing(SQLBackend(url)) as backend, pytest.raises(BackendError, match=r"drop both, .* or set another prefix"):
        backend.write([start("job")])
    with closing(SQLBackend(url, prefix="other")) as backend:
        assert backend.write([start("job")]) == {"job": 1}


def test_a_table_of_the_release_before_this_one_goes_on_working(url: str, clock: FakeClock, ask: Ask) -> None:
    schema = Path(__file__).with_name("earlier_schemas") / f"{sa.make_url(url).get_backend_name()}.sql"
    for statement in schema.read_text("utf-8").rstrip(";\n").split(";\n\n"):
        ask(statement)
    role = {"postgresql": ", role", "mariadb": ", fate"}.get(sa.make_url(url).get_backend_name(), "")
    columns = f"id, run, attempt, seq, token, state, lease, heard_at, expires_at, body{role}"
    of_role = {", role": ", 'update'", ", fate": ", 2"}.get(role, "")
    body = '{{"id":"{0}","kind":"mail","current":5}}'
    for id in ("live", "done"):
        state = "running" if id == "live" else "succeeded"
        values = f"'{id}', 2, 1, 5, 'worker', '{state}', 600, {clock()}, {clock() + 600}, '{body.format(id)}'{of_role}"
        ask(f"INSERT INTO progresskit_jobs ({columns}) VALUES ({values})".replace("%", "%%"))
    with closing(SQLBackend(url, clock=clock)) as backend:
        assert {job.cursor for job in backend.read(["live", "done"]).values()} == {"0-2.1.5"}
        backend.write([update("live", 6, run=2, current=6)])
        assert (read(backend, "live").current, read(backend, "live").version) == (6, Version(2, 1, 6))
        assert backend.write([start("done", token="next"), start("new")]) == {"done": 3, "new": 1}
        # As during a deployment: the release before names the columns that it knows.
        ask("UPDATE progresskit_jobs SET seq = 9, token = 'another' WHERE id = 'live'")
        assert read(backend, "live").version == Version(2, 1, 9)
        backend.write([update("live", 10, token="another", run=2)])
        assert read(backend, "live").version == Version(2, 1, 10)


# Several writers.


def test_a_job_that_many_begin_at_once_has_a_run_for_each(url: str) -> None:
    begin, runs = Barrier(AT_ONCE), list[int]()

    def work(number: int) -> None:
        with closing(SQLBackend(url)) as backend:
            backend.read(["job"])
            begin.wait()
            runs.append(backend.write([start("job", token=f"{number}")])["job"])

    together(*(lambda number=number: work(number) for number in range(AT_ONCE)))
    assert sorted(runs) == [*range(1, AT_ONCE + 1)]


def test_writers_with_batches_in_any_order_never_fail_and_lose_nothing(url: str) -> None:
    ids, runs = [f"job-{number}" for number in range(40)], list[dict[str, int]]()

    def work(name: str) -> None:
        choose = random.Random(name)
        with closing(SQLBackend(url)) as backend:
            for round in range(10):
                token = f"{name}-{round}"
                some = choose.sample(ids, 20)
                granted = backend.write([start(id, token=token) for id in some])
                runs.append(granted)
                choose.shuffle(some)
                backend.write([update(id, 2, token=token, run=granted[id]) for id in some])
                backend.request_cancel(some[:3])

    together(*(lambda number=number: work(f"writer-{number}") for number in range(AT_ONCE)))
    given: dict[str, list[int]] = {}
    for granted in runs:
        for id, run in granted.items():
            given.setdefault(id, []).append(run)
    for each in given.values():
        assert sorted(each) == [*range(1, len(each) + 1)]
    with closing(SQLBackend(url)) as backend:
        found = {id: progress.version.run for id, progress in backend.read(ids).items()}
    assert found == {id: len(each) for id, each in given.items()}


def test_a_job_ends_before_or_after_it_is_asked_to_stop_and_never_in_between(
    backend: SQLBackend, url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a start that is decided meanwhile waits as well: the rows are locked while a decision is made."""
    waiting = list[Future[object]]()
    decide = SQLBackend._store
    with closing(SQLBackend(url, clock=clock)) as other, ThreadPoolExecutor() as pool:

        def store_after_an_attempt(self: SQLBackend, connection: Any, changes: Any) -> None:
            if self is backend and not waiting:
                waiting.append(pool.submit(other.write, [external_update("job", State.CANCELLED)]))
                with pytest.raises(TimeoutError):
                    waiting[0].result(0.2)
            decide(self, connection, changes)

        backend.write([start("job")])
        other.read(["job"])
        monkeypatch.setattr(SQLBackend, "_store", store_after_an_attempt)
        assert backend.request_cancel(["job"]) == {"job"}
        waiting[0].result()
    record = read(backend, "job")
    assert (record.state, record.cancel_requested) == (State.CANCELLED, True)


def test_what_another_session_is_in_the_way_of_is_tried_again_and_not_for_ever(
    backend: SQLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.write([start("job")])
    refusals, store = [3], SQLBackend._store

    class Conflict(sa.exc.DBAPIError):
        def __init__(self) -> None:
            super().__init__("", {}, backend._driver.errors[0]("another session"))

    def store_at_last(self: SQLBackend, connection: Any, changes: Any) -> None:
        store(self, connection, changes)
        refusals[0] -= 1
        if refusals[0] >= 0:
            raise Conflict

    monkeypatch.setattr(type(backend._driver), "is_conflict", lambda self, error: "another session" in str(error))
    monkeypatch.setattr(SQLBackend, "_store", store_at_last)
    assert backend.write([start("job", token="next")]) == {"job": 2}
    refusals[0] = 1_000
    with pytest.raises(BackendError, match="another session"):
        backend.write([start("job", token="third")])
    assert refusals[0] > 900
    refusals[0] = 0
    assert read(backend, "job").version.run == 2


# Expiry.


def test_what_has_expired_is_deleted_little_by_little(backend: SQLBackend, clock: FakeClock, ask: Ask) -> None:
    for batch in range(12):
        backend.write([start(f"job-{batch}-{number}", ttl=10) for number in range(100)])
    backend.write([start("lives", ttl=1_000)])
    counts = []
    for _ in range(4):
        clock.advance(121)
        backend.write([update("lives", 2, ttl=1_000)])
        counts += [count for (count,) in ask("SELECT count(*) FROM progresskit_jobs")]
    assert counts == [701, 201, 1, 1]


def test_a_pass_that_left_some_is_followed_by_another_at_once(backend: SQLBackend, clock: FakeClock, ask: Ask) -> None:
    backend.write([start(f"job-{number}", ttl=10) for number in range(1_200)])
    clock.advance(121)
    for _ in range(3):
        backend.write([start("lives")])
    assert ask("SELECT count(*) FROM progresskit_jobs") == [(1,)]


def test_a_sweep_passes_over_what_somebody_else_has_locked(
    backend: SQLBackend, clock: FakeClock, engine: sa.Engine, ask: Ask
) -> None:
    if engine.dialect.name == "sqlite":
        return  # locks no rows
    backend.write([start("locked", ttl=10), start("free", ttl=10)])
    clock.advance(200)
    with engine.begin() as other:
        other.exec_driver_sql("SELECT 1 FROM progresskit_jobs WHERE id = 'locked' FOR UPDATE")
        backend.write([start("job")])
        assert ask("SELECT id FROM progresskit_jobs ORDER BY id") == [("job",), ("locked",)]


PRIMARY = ("PRIMARY", "pkey", "autoindex")


@pytest.mark.parametrize(
    ("query", "names"),
    [("read", PRIMARY), ("lock", PRIMARY), ("newest", ("by_heard",)), ("gone", ("by_expires",))],
)
def test_each_query_goes_by_an_index(
    query: str, names: tuple[str, ...], backend: SQLBackend, clock: FakeClock, engine: sa.Engine
) -> None:
    for minute in range(30):
        backend.write([start(f"job-{minute}-{number}", ttl=100 * minute + 1) for number in range(100)])
        clock.advance(60)
    statement = getattr(backend._tables, query)
    values: dict[str, object] = {"ids": ["job-1-1", "job-2-2"], "now": clock() - 1_700, "limit": 5}
    named = {name: value for name, value in values.items() if name in statement.compile().params}
    options = {"literal_binds": True, "render_postcompile": True}
    text = str(statement.params(**named).compile(engine, compile_kwargs=options))
    is_sqlite, is_postgresql = engine.dialect.name == "sqlite", engine.dialect.name == "postgresql"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if is_sqlite or is_postgresql else "ANALYZE TABLE progresskit_jobs")
        plan = "\n".join(map(str, connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{text}")))
    assert any(name in plan for name in names), plan
    for slow in ("filesort", "Seq Scan", "TEMP B-TREE"):
        assert slow not in plan


# Time.


def test_a_lease_and_a_ttl_are_judged_by_the_clock_of_the_server(
    url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith("sqlite"):
        return  # whose server is the host
    with closing(SQLBackend(url)) as backend:
        monkeypatch.setattr("time.time", lambda: 0.0)
        monkeypatch.setattr("progresskit.backends.stores.time", lambda: 9e9)
        backend.write([start("job", lease=20, ttl=200), start("stalled", lease=1e-6), start("gone", ttl=0.0)])
        records = backend.read(["job", "stalled", "gone"])
        assert {id: progress.stalled for id, progress in records.items()} == {"job": False, "stalled": True}
        ((heard,),) = ask("SELECT heard_at FROM progresskit_jobs WHERE id = 'job'")
        monkeypatch.undo()
        ((now,),) = ask(f"SELECT {backend._driver.time.removeprefix('SELECT ')} AS now")
        assert 0 <= float(now) - heard < 30


# Text.


@pytest.mark.parametrize("kind", [None, "", "\x1e", "{a,b}", "NULL", '"', "\\", "it's 100% \\'", "größe." * 500, "🚀"])
def test_a_kind_may_be_any_text(kind: str | None, backend: SQLBackend) -> None:
    token = (kind or "")[:60]
    backend.write([start("job", kind=kind, token=token), start("other", kind="other")])
    backend.write([update("job", 2, kind=kind, token=token, current=2, meta={"kind": kind})])
    assert (read(backend, "job").kind, read(backend, "job").current) == (kind, 2)
    if kind is not None:
        assert [progress.id for progress in backend.list(kind=kind, states=None, limit=9)] == ["job"]


def test_kinds_are_distinguished_to_the_last_letter(backend: SQLBackend) -> None:
    backend.write([start("a", kind="mail"), start("b", kind="mail "), start("c", kind="Mail")])
    assert [progress.id for progress in backend.list(kind="mail", states=None, limit=9)] == ["a"]
    assert [progress.id for progress in backend.list(kind="mail ", states=None, limit=9)] == ["b"]


@pytest.mark.parametrize("bad", [update("bad", 2**70), update("bad", 2)._replace(body="\ud800")])
def test_what_cannot_be_stored_at_all_is_a_backend_error_and_the_batch_is_taken_whole_or_not(
    bad: Any, backend: SQLBackend
) -> None:
    with pytest.raises(BackendError) as raised:
        backend.write([start("good"), bad])
    assert not isinstance(raised.value, BackendUnavailable)
    assert backend.read(["good", "bad"]) == {}
    assert backend.write([start("good")]) == {"good": 1}


# The job's own transaction, and a given engine.


@pytest.mark.parametrize("given", [False, True])
def test_progress_shows_while_the_jobs_own_transaction_is_open_and_stays_when_that_is_rolled_back(
    given: bool, url: str, engine: sa.Engine
) -> None:
    with closing(SQLBackend(engine if given else url)) as backend, closing(SQLBackend(url)) as viewer:
        backend.write([start("job")])
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM progresskit_jobs").all()
            if engine.dialect.name != "sqlite":  # where one transaction at a time may write
                connection.exec_driver_sql("UPDATE progresskit_parts SET weight = 2")
            for seq in range(2, 5):
                backend.write([update("job", seq, current=seq)])
                assert read(viewer, "job").current == seq
            connection.rollback()
        assert read(viewer, "job").current == 4


def test_a_given_engine_is_used_keeps_its_transactions_and_is_never_closed(engine: sa.Engine) -> None:
    opened, closed = list[object](), list[object]()
    sa.event.listen(engine, "connect", lambda connection, record: opened.append(connection))
    sa.event.listen(engine, "close", lambda connection, record: closed.append(connection))
    backend = SQLBackend(engine)
    backend.write([start("job"), start("other")])
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE progresskit_jobs SET run = 9")
        connection.rollback()
    assert read(backend, "job").version.run == 1
    backend.close()
    assert (len(opened), closed) == (1, [])
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM progresskit_jobs").scalar_one() == 2


def test_calls_of_many_threads_do_not_disturb_each_other(backend: SQLBackend) -> None:
    done = Event()

    def look() -> None:
        while not done.is_set():
            backend.read(["thread"])

    lookers = [Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    backend.write([start("thread")])
    for seq in range(2, 50):
        backend.write([update("thread", seq)])
    done.set()
    for thread in lookers:
        thread.join()
    wait_until(lambda: read(backend, "thread").version.seq == 49)
