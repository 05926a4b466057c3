"""What MariaDB and MySQL promise beyond the contract of all backends."""

from __future__ import annotations

import gc
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from threading import Thread
from time import monotonic, time
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine, create_engine, event, make_url

from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.progress import State
from progresskit.registry import backend_class
from progresskit.testing import FakeClock, Model
from progresskit.testing.histories import pools, shown
from progresskit.testing.writes import external_update, start, update
from progresskit_sql import SQLBackend, ddl
from progresskit_sql.mysql import MySQL
from progresskit_sql.mysql.statements import rows_of_writes
from tests.adapters.sql.calls import CALLS
from tests.services import missing, patience, server
from tests.services.mariadb import MariaDB
from tests.services.patience import be_patient
from tests.services.waiting import wait_until

WEIRD = ["my-app", "my app", 'quo"ted', "se'lect", "back`tick", "{x}", "%s", "%(now)s", "größe", "1"]


@pytest.fixture(scope="module")
def mariadb(missing_service: Callable[..., NoReturn]) -> MariaDB:
    if reason := missing("mariadb"):
        missing_service("mariadb", reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # PyMySQL leaves the socket of a refused connection behind
        found = server("mariadb")
        gc.collect()
    assert isinstance(found, MariaDB)
    return found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for locks and answers as long as a busy machine may need; to be asked for before a backend is."""
    be_patient(patience.MARIADB, monkeypatch)


@pytest.fixture
def url(mariadb: MariaDB) -> str:
    return mariadb.fresh()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(url: str, clock: FakeClock) -> Iterator[SQLBackend]:
    with closing(SQLBackend(url, clock=clock)) as backend:
        yield backend


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ask(mariadb: MariaDB, url: str) -> Callable[[str], Any]:
    """Give a way to ask the server behind the backend's back, in the database of the test."""

    def ask(statement: str) -> Any:
        with closing(mariadb.connect()) as connection, connection.cursor() as cursor:
            connection.select_db(make_url(url).database)
            cursor.execute(statement)
            return cursor.fetchall()

    return ask


# The URL.


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_the_registry_finds_it_by_the_scheme_of_the_url(scheme: str, url: str, ask: Callable[[str], Any]) -> None:
    url = url.replace("mariadb+pymysql", scheme)
    with closing(backend_class(url).from_url(url, Settings(url=url, prefix="shop"))) as backend:
        backend.write([start("job")])
    assert ask("SELECT id FROM shop_jobs") == (("job",),)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("mysql+mysqldb://u:geheim@host/x", "progresskit needs mysql+pymysql://"),
        ("mariadb+asyncmy://u:geheim@host/x", "progresskit needs mariadb+pymysql://"),
        ("mysql://u:geheim@host", "names no database"),
        ("mysql://u:geheim@host/", "mysql+pymysql://user:password@host/database"),
        ("mysql://u:geheim@host:port/x", "mysql+pymysql://user:password@host/database"),
        ("mariadb://u:geheim@host:port/x", "mariadb+pymysql://user:password@host/database"),
        ("mysql://u:geheim@host/x?read_timeout=soon", "an option of the URL cannot be read: "),
        ("mysql://u:geheim@host/x?read_timeout=-1", "read_timeout should be > 0"),
        ("mysql://u:geheim@host/x?read_timout=5", "the URL's option read_timout is not known to PyMySQL"),
        ("mysql://u:geheim@host/x?ssl_ca=/not/there.pem", "ssl_ca names /not/there.pem, and there is no such file"),
        ("mysql://u:geh%E2%82%ACeim@host/x", "no password with letters that Latin-1 does not have"),
    ],
)
def test_a_mistake_in_the_url_is_reported_at_once_and_says_what_to_do(url: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SQLBackend(url)
    assert hint in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_prefix_that_no_table_can_have_is_reported_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="longer than 64 letters"):
        SQLBackend(url, prefix="p" * 59)
    with closing(SQLBackend(url, prefix="p" * 58)) as backend:
        assert backend.write([start("job")]) == {"job": 1}


@pytest.mark.parametrize("prefix", WEIRD)
def test_any_prefix_will_do(prefix: str, url: str, ask: Callable[[str], Any]) -> None:
    for clock in (None, FakeClock()):
        with closing(SQLBackend(url, prefix=prefix, clock=clock)) as backend:
            backend.write([start("job")])
            backend.write([external_update("job", State.FAILED)])
            assert backend.request_cancel(["job"]) == backend.cancel_requested(["job"]) == set()
            assert backend.list(kind=None, states=None, limit=9) == [*backend.read(["job"]).values()]
    assert ask("SHOW TABLES") == ((f"{prefix}_jobs",), (f"{prefix}_parts",))


def test_what_the_url_says_of_timeouts_holds(url: str) -> None:
    for query, expected in (("", 5), ("?read_timeout=9", 9)):
        with closing(SQLBackend(f"{url}{query}")) as backend, backend._connections.checkout() as checkout:
            assert checkout.connection._read_timeout == expected


# The table.


def test_the_documented_statements_make_the_table_that_is_made_on_first_use(
    url: str, backend: SQLBackend, ask: Callable[[str], Any]
) -> None:
    backend.write([start("job")])
    (made,) = ask("SHOW CREATE TABLE progresskit_jobs")
    ask("DROP TABLE progresskit_jobs")
    for statement in ddl(url):
        ask(statement)
    assert ask("SHOW CREATE TABLE progresskit_jobs") == (made,)
    assert ddl("mysql://") == ddl("mariadb://") == ddl(url)


@pytest.fixture
def with_rights(mariadb: MariaDB, url: str) -> Iterator[Callable[[str], str]]:
    """Give a function that returns the URL of a user who has certain rights to the tables, and no others."""
    database, made = make_url(url).database, list[str]()

    def user(rights: str) -> str:
        name = f"user_{database}_{len(made)}"
        made.append(name)
        mariadb.execute(f"CREATE USER {name}@127.0.0.1 IDENTIFIED BY 'geheim'")
        mariadb.execute(f"GRANT {rights} ON {database}.* TO {name}@127.0.0.1")
        return make_url(url).set(username=name, password="geheim").render_as_string(hide_password=False)

    yield user
    for name in made:
        mariadb.execute(f"DROP USER {name}@127.0.0.1")


def test_the_right_to_make_a_table_is_not_needed_where_there_is_one(
    with_rights: Callable[[str], str], url: str, ask: Callable[[str], Any]
) -> None:
    with closing(SQLBackend(with_rights("SELECT, INSERT, UPDATE, DELETE"))) as backend:
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="CREATE command denied"):
                backend.write([start("job")])
        for statement in ddl(url):
            ask(statement)
        assert backend.write([start("job"), start("other", ttl=1e-3)]) == {"job": 1, "other": 1}
        assert backend.request_cancel(["job"]) == {"job"}
        backend._sweep_at = 0
        backend.write([update("job", 2)])
        assert ask("SELECT id FROM progresskit_jobs") == (("job",),)


def test_who_may_only_read_reads(with_rights: Callable[[str], str], backend: SQLBackend, clock: FakeClock) -> None:
    backend.write([start("job")])
    with closing(SQLBackend(with_rights("SELECT"), clock=clock)) as viewer:
        assert viewer.read(["job"]).keys() == {"job"}
        for call in (lambda: viewer.write([update("job", 2)]), lambda: viewer.request_cancel(["job"])):
            with pytest.raises(BackendUnavailable, match="command denied"):
                call()
        assert viewer.read(["job"])["job"].version.seq == 1
        assert viewer.list(kind=None, states=None, limit=9)


@pytest.mark.parametrize("call", CALLS)
def test_every_call_reports_a_dropped_table_once_and_then_makes_it_again(
    call: Callable[[SQLBackend], object], backend: SQLBackend, ask: Callable[[str], Any]
) -> None:
    backend.write([start("job")])
    ask("DROP TABLE progresskit_jobs")
    with pytest.raises(BackendUnavailable):
        call(backend)
    call(backend)
    assert backend.write([start("job", token="next")])["job"] in {1, 2}


def together(*acts: Callable[[], object]) -> None:
    """Do all at once, and raise what one of them raises."""
    problems = list[BaseException]()

    def work(act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as problem:
            problems.append(problem)

    threads = [Thread(target=work, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_next_write_of_a_job_makes_the_row_again_when_the_table_was_truncated(
    backend: SQLBackend, ask: Callable[[str], Any]
) -> None:
    backend.write([start("live"), start("ending"), start("ended", state=State.SUCCEEDED)])
    ask("TRUNCATE TABLE progresskit_jobs")
    backend.write([update("live", 2, current=2), update("ending", 2, state=State.FAILED)])
    records = backend.read(["live", "ending", "ended"])
    assert {id: record.state for id, record in records.items()} == {"live": State.RUNNING, "ending": State.FAILED}


@pytest.mark.usefixtures("patient")
def test_many_that_make_the_table_at_once_all_succeed(url: str) -> None:
    def work(round: int, number: int) -> None:
        with closing(SQLBackend(url, prefix=f"round-{round}")) as backend:
            backend.write([start(f"job-{number}")])

    for round in range(5):
        together(*(partial(work, round, number) for number in range(8)))
        with closing(SQLBackend(url, prefix=f"round-{round}")) as backend:
            assert len(backend.list(kind=None, states=None, limit=99)) == 8


# How the server, or a given engine, is set.


def plays_as_the_model(backend: SQLBackend, clock: FakeClock) -> None:
    """Write the same random writes to the backend and the model, and compare what is read after each."""
    model, choose = Model(clock), random.Random(7)
    writes = {job: [write for pool in pools(job) for write in pool] for job in ("a", "b")}
    for _ in range(150):
        batch = [choose.choice(writes[job]) for job in ("a", "b")]
        backend.write(batch)
        model.write(batch)
        clock.advance(choose.choice([0, 1, 21, 60]))
        if not choose.randrange(5):
            assert backend.request_cancel(["a", "b"]) == model.request_cancel(["a", "b"])
        assert shown(backend.read(["a", "b"])) == shown(model.read(["a", "b"]))


MODES = [
    "",
    "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE,IGNORE_SPACE,PAD_CHAR_TO_FULL_LENGTH,TRADITIONAL",
    "SIMULTANEOUS_ASSIGNMENT,EMPTY_STRING_IS_NULL",
    "ORACLE",
    "MSSQL",
]
QUOTES = {"a\\'b": ["'", "\\", "\\\\'", '"', "''", "%s", "\\0", "🚀"]}


@pytest.mark.parametrize("mode", MODES)
def test_a_given_engine_may_have_any_sql_mode(mode: str, url: str, clock: FakeClock) -> None:
    engine = create_engine(url, connect_args={"sql_mode": mode})
    with closing(SQLBackend(engine, clock=clock)) as backend:
        plays_as_the_model(backend, clock)
        backend.write([start("quoted", kind="it's \\ fine", description="it's \\", meta=QUOTES)])
        (listed,) = backend.list(kind="it's \\ fine", states=[State.RUNNING], limit=9)
        assert (listed.id, listed.description, listed.meta) == ("quoted", "it's \\", QUOTES)
    engine.dispose()


@pytest.mark.parametrize("mode", MODES)
def test_a_server_may_have_any_sql_mode(mode: str, mariadb: MariaDB, url: str, clock: FakeClock) -> None:
    with closing(mariadb.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.sql_mode")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL sql_mode = %s", (mode,))
        try:
            with closing(SQLBackend(url, clock=clock)) as backend:
                plays_as_the_model(backend, clock)
                backend.write([start("quoted", meta=QUOTES)])
                assert backend.read(["quoted"])["quoted"].meta == QUOTES
        finally:
            cursor.execute("SET GLOBAL sql_mode = %s", (before,))


@pytest.mark.parametrize("zone", ["+00:00", "+13:00", "-11:30"])
def test_the_servers_clock_judges_whatever_the_time_zone(zone: str, url: str, ask: Callable[[str], Any]) -> None:
    engine = create_engine(url, connect_args={"init_command": f"SET time_zone = '{zone}'"})
    with closing(SQLBackend(engine)) as backend:
        before = time()
        backend.write([start("job", lease=0.2, ttl=100)])
        backend.write([start("short", ttl=0.2)])
        ((heard_at, expires_at),) = ask("SELECT heard_at, expires_at FROM progresskit_jobs WHERE id = 'job'")
        assert before - 0.1 <= heard_at <= time() + 0.1
        assert abs(expires_at - heard_at - 100) < 1e-6
        wait_until(lambda: backend.read(["job"])["job"].stalled)
        wait_until(lambda: not backend.read(["short"]))
    engine.dispose()


def test_a_lease_and_a_ttl_begin_at_the_write(url: str) -> None:
    with closing(SQLBackend(url)) as backend:
        backend.write([start("job"), external_update("sent")])
        backend.write([update("job", 2)])
        for progress in backend.read(["job", "sent"]).values():
            assert not progress.stalled


# A given engine.


def test_a_given_engine_is_used_and_never_closed(engine: Engine) -> None:
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


def test_a_job_ends_before_or_after_it_is_asked_to_stop_and_never_in_between(
    patient: None, backend: SQLBackend, url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = MySQL._rows
    with closing(SQLBackend(url, clock=clock)) as other:
        ending = Thread(target=other.write, args=([external_update("job", State.CANCELLED)],))

        def rows_after_an_attempt(self: MySQL, cursor: Any, name: str, ids: Any) -> Iterator[Any]:
            found = [*rows(self, cursor, name, ids)]
            if name == "lock" and ending.ident is None:
                ending.start()
                ending.join(0.2)
                assert ending.is_alive(), "nobody had to wait"
            yield from found

        backend.write([start("job")])
        with monkeypatch.context() as patched:
            patched.setattr(MySQL, "_rows", rows_after_an_attempt)
            assert backend.request_cancel(["job"]) == {"job"}
        ending.join()
    record = backend.read(["job"])["job"]
    assert (record.state, record.cancel_requested) == (State.CANCELLED, True)


def test_a_given_engine_keeps_its_transactions_and_its_settings(engine: Engine) -> None:
    query = "SELECT @@autocommit, @@tx_isolation, @@sql_mode, @@lock_wait_timeout"
    event.listen(engine, "connect", lambda connection, record: connection.query("SET sql_mode = 'ANSI'"))
    with engine.connect() as connection:
        before = connection.exec_driver_sql(query).one()
    assert before[0] == 0
    with closing(SQLBackend(engine)) as backend:
        backend.write([start("job")])
        with engine.connect() as connection:
            assert connection.exec_driver_sql(query).one() == before
            connection.exec_driver_sql("UPDATE progresskit_jobs SET run = 9")
            connection.rollback()
        assert backend.read(["job"])["job"].version.run == 1


def test_a_given_engine_of_another_driver_is_refused() -> None:
    engine = create_engine("mysql+pymysql://u:geheim@host/x")
    engine.url = engine.url.set(drivername="mysql+mysqldb")
    with pytest.raises(ConfigurationError, match=r"progresskit needs mysql\+pymysql://"):
        SQLBackend(engine)


@pytest.mark.parametrize("given", [False, True])
def test_progress_shows_while_the_jobs_own_transaction_is_open(given: bool, url: str, engine: Engine) -> None:
    with closing(SQLBackend(engine if given else url)) as backend, closing(SQLBackend(url)) as viewer:
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE work (n INT)")
            connection.exec_driver_sql("INSERT INTO work VALUES (1)")
            backend.write([start("job")])
            for seq in range(2, 5):
                connection.exec_driver_sql("INSERT INTO work VALUES (1)")
                backend.write([update("job", seq, current=seq)])
                assert viewer.read(["job"])["job"].current == seq
            connection.rollback()
        assert viewer.read(["job"])["job"].current == 4, "a job that is rolled back still shows how far it got"
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM work").scalar_one() == 0


def test_a_viewer_inside_a_transaction_sees_what_is_new(engine: Engine, url: str) -> None:
    with closing(SQLBackend(engine)) as viewer, closing(SQLBackend(url)) as backend:
        for seq in range(1, 5):
            backend.write([update("job", seq)])
            assert viewer.read(["job"])["job"].version.seq == seq


# Ids and text.


def test_kinds_are_distinguished_by_a_space_at_the_end(backend: SQLBackend) -> None:
    backend.write([start("a", kind="mail"), start("b", kind="mail "), start("c", kind="Mail")])
    assert [progress.id for progress in backend.list(kind="mail", states=None, limit=9)] == ["a"]
    assert [progress.id for progress in backend.list(kind="mail ", states=None, limit=9)] == ["b"]


def test_a_kind_may_be_long(backend: SQLBackend) -> None:
    kind = "größe." * 1_000
    backend.write([start("a", kind=kind)])
    assert [progress.kind for progress in backend.list(kind=kind, states=None, limit=9)] == [kind]


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3"])
def test_a_database_of_another_character_set_does_no_harm(
    charset: str, url: str, clock: FakeClock, ask: Callable[[str], Any]
) -> None:
    ask(f"ALTER DATABASE {make_url(url).database} CHARACTER SET {charset}")
    with closing(SQLBackend(f"{url}?charset={charset}", clock=clock)) as backend:
        backend.write([start("job", description="東京 🚀")])
        assert backend.read(["job"])["job"].description == "東京 🚀"
        plays_as_the_model(backend, clock)


# Batches.


def test_what_cannot_be_stored_at_all_is_a_backend_error_and_the_batch_is_taken_whole_or_not(
    backend: SQLBackend,
) -> None:
    backend.write([start("job")])
    for bad in (update("other", 2**70), start("x" * 200), start("other", token="t" * 300), update("\ud800", 1)):
        with pytest.raises(BackendError) as raised:
            backend.write([update("job", 2), bad])
        assert not isinstance(raised.value, BackendUnavailable)
    assert backend.read(["job"])["job"].version.seq == 1
    assert backend.write([update("job", 2)]) == {"job": 1}


def test_a_batch_over_max_allowed_packet_is_divided_and_still_taken_whole_or_not(
    mariadb: MariaDB, url: str, clock: FakeClock
) -> None:
    statements = list[str]()
    with closing(mariadb.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_allowed_packet")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL max_allowed_packet = 65536")
        try:
            with closing(SQLBackend(url, clock=clock)) as backend:
                ids = [f"job-{number}" for number in range(300)]
                batch = [start(id, meta={"ü'": "é\\" * 400}) for id in ids]
                assert backend.write(batch) == dict.fromkeys(ids, 1)
                backend.write([update(id, 2, meta={"n": "東" * 300}) for id in ids])
                assert {progress.version.seq for progress in backend.read(ids).values()} == {2}
                assert backend.request_cancel(ids) == backend.cancel_requested(ids) == set(ids)
                with pytest.raises(BackendError, match="max_allowed_packet") as raised:
                    backend.write([*(update(id, 3) for id in ids), update("long", 1, result="x" * 70_000)])
                assert not isinstance(raised.value, BackendUnavailable)
                assert {progress.version.seq for progress in backend.read(ids).values()} == {2}
                with backend._connections.checkout() as checkout, checkout.connection.cursor() as asking:
                    assert isinstance(backend._dialect, MySQL)
                    statements += backend._dialect._write.of(rows_of_writes(asking, batch, "0.0"), 65_536)
        finally:
            cursor.execute("SET GLOBAL max_allowed_packet = %s", (before,))
    lengths = [len(statement.encode()) for statement in statements]
    assert max(lengths) < 65_536
    assert len(lengths) > 5
    assert min(lengths[:-1]) > 50_000, "as few as there can be"


def test_ids_of_many_jobs_are_asked_for_in_statements_that_the_server_takes(url: str, clock: FakeClock) -> None:
    with closing(SQLBackend(url, clock=clock)) as backend:
        backend.write([start("job")])
        assert isinstance(backend._dialect, MySQL)
        backend._dialect._packet = 3_000
        ids = ["job", *(f"{number}-{'x' * 120}" for number in range(100))]
        assert backend.read(ids).keys() == backend.request_cancel(ids) == backend.cancel_requested(ids) == {"job"}


# Cleaning up.


def test_what_has_expired_is_deleted_little_by_little(
    backend: SQLBackend, clock: FakeClock, ask: Callable[[str], Any]
) -> None:
    for batch in range(12):
        backend.write([start(f"job-{batch}-{number}", ttl=10) for number in range(100)])
    backend.write([start("lives", ttl=1_000)])
    counts = []
    for _ in range(4):
        clock.advance(61)
        backend.write([update("lives", 2, ttl=1_000)])
        counts += ask("SELECT count(*) FROM progresskit_jobs")
    assert counts == [(701,), (201,), (1,), (1,)]


@pytest.mark.parametrize(
    ("name", "index"), [("read", "PRIMARY"), ("list", "by_heard_at"), ("sweep", "by_expires_at"), ("lock", "PRIMARY")]
)
def test_each_query_goes_by_an_index(name: str, index: str, backend: SQLBackend, clock: FakeClock) -> None:
    ids = [f"job-{number}" for number in range(1_000)]
    backend.write([start(id, ttl=1 + number) for number, id in enumerate(ids)])
    clock.advance(10)
    values = {"ids": ids[::2], "now": clock(), "kind": None, "states": None, "limit": 5, "member": None}
    assert isinstance(backend._dialect, MySQL)
    with backend._connections.checkout() as checkout, checkout.connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {backend._dialect._sql[name]}", values)
        ((_, _, _, _, _, key, _, _, _, extra),) = cursor.fetchall()
    assert (key, "filesort" in (extra or "")) == (index, False)


def test_a_sweep_leaves_to_somebody_else_what_he_is_at(
    mariadb: MariaDB, url: str, backend: SQLBackend, clock: FakeClock, ask: Callable[[str], Any]
) -> None:
    backend.write([start("job", ttl=10), start("lives", ttl=1_000)])
    clock.advance(61)
    with closing(mariadb.connect()) as other, other.cursor() as cursor:
        other.select_db(make_url(url).database)
        other.begin()
        cursor.execute("SELECT id FROM progresskit_jobs WHERE id = 'job' FOR UPDATE")
        backend.write([update("lives", 2, ttl=1_000)])
        assert ask("SELECT seq FROM progresskit_jobs WHERE id = 'lives'") == ((2,),)
        other.rollback()


# Beside others.


def test_a_deadlock_that_the_server_breaks_at_our_expense_is_written_once_more(
    patient: None, mariadb: MariaDB, url: str, backend: SQLBackend, ask: Callable[[str], Any]
) -> None:
    ids = [f"job-{number}" for number in range(50)]
    backend.write([start(id) for id in ids])
    (before,) = ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    problems = list[BaseException]()

    def work() -> None:
        try:
            backend.write([update("job-0", 2, current=2), update("job-1", 2, current=2)])
        except BaseException as problem:
            problems.append(problem)

    with closing(mariadb.connect()) as other, other.cursor() as cursor:
        other.select_db(make_url(url).database)
        other.begin()
        cursor.execute("UPDATE progresskit_jobs SET seq = seq WHERE id = 'job-1'")
        # Whoever has changed more goes on.
        cursor.execute("UPDATE progresskit_jobs SET lease = lease + 1 WHERE id > 'job-2'")
        thread = Thread(target=work)
        thread.start()
        # The table is a copy, which is not renewed while it is read more often than ten times a second.
        waits = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        wait_until(lambda: ask(waits), "the write waits for the lock", step=0.2)
        cursor.execute("UPDATE progresskit_jobs SET lease = lease WHERE id = 'job-0'")
        other.commit()
        thread.join()
    (after,) = ask("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    assert int(after[1]) == int(before[1]) + 1
    assert problems == []
    assert {progress.current for progress in backend.read(["job-0", "job-1"]).values()} == {2}


@pytest.mark.timing
def test_a_row_that_somebody_else_has_locked_is_waited_for_briefly(
    mariadb: MariaDB, url: str, backend: SQLBackend
) -> None:
    backend.write([start("job"), start("other")])
    with closing(mariadb.connect()) as other, other.cursor() as cursor:
        other.select_db(make_url(url).database)
        other.begin()
        cursor.execute("SELECT id FROM progresskit_jobs WHERE id = 'job' FOR UPDATE")
        began = monotonic()
        for call in (
            lambda: backend.write([update("other", 2), update("job", 2)]),
            lambda: backend.write([start("other", token="next"), start("job", token="next")]),
            lambda: backend.request_cancel(["job"]),
        ):
            with pytest.raises(BackendUnavailable, match="Lock wait timeout"):
                call()
        assert 3 < monotonic() - began < 12
        assert backend.read(["job", "other"])["other"].version.seq == 1, "a batch is taken whole or not"
        other.rollback()
    backend.write([update("job", 2)])
    assert backend.read(["job"])["job"].version.seq == 2


@pytest.mark.usefixtures("patient")
def test_writers_with_batches_in_any_order_never_fail_and_lose_nothing(url: str) -> None:
    ids = [f"job-{number}" for number in range(40)]
    runs = list[dict[str, int]]()

    def work(name: str) -> None:
        choose = random.Random(name)
        with closing(SQLBackend(url)) as backend:
            for round in range(12):
                token = f"{name}-{round}"
                some = choose.sample(ids, 20)
                granted = backend.write([start(id, token=token) for id in some])
                runs.append(granted)
                choose.shuffle(some)
                backend.write([update(id, 2, token=token, run=granted[id]) for id in some])

    together(*(partial(work, f"writer-{number}") for number in range(6)))
    given: dict[str, list[int]] = {}
    for granted in runs:
        for id, run in granted.items():
            given.setdefault(id, []).append(run)
    assert {id: sorted(each) for id, each in given.items()} == {
        id: [*range(1, len(each) + 1)] for id, each in given.items()
    }
    with closing(SQLBackend(url)) as backend:
        assert {id: progress.version.run for id, progress in backend.read(ids).items()} == {
            id: len(each) for id, each in given.items()
        }
