"""What MariaDB and MySQL promise beyond the contract of all backends."""

from __future__ import annotations

import gc
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Thread
from time import monotonic, time
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine, create_engine, event, make_url

from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.progress import State
from progresskit.testing import FakeClock, Model
from progresskit.testing.histories import pools, shown
from progresskit.testing.writes import external_update, start, update
from progresskit_sql import SQLBackend, ddl
from tests.services import missing, patience, server
from tests.services.mariadb import MariaDB
from tests.services.patience import be_patient
from tests.services.waiting import wait_until


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
def ask(mariadb: MariaDB, url: str) -> Callable[[str], Any]:
    """Give a way to ask the server behind the backend's back, in the database of the test."""

    def ask(statement: str) -> Any:
        with closing(mariadb.connect()) as connection, connection.cursor() as cursor:
            connection.select_db(make_url(url).database)
            cursor.execute(statement)
            return cursor.fetchall()

    return ask


# The URL.


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
        ("mysql://u:geheim@host/x?read_timout=5", "read_timout"),
        ("mysql://u:geheim@host/x?ssl_ca=/not/there.pem", "No such file"),
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


def test_what_the_url_says_of_timeouts_holds(url: str) -> None:
    for query, expected in (("", 5), ("?read_timeout=9", 9)):
        with closing(SQLBackend(f"{url}{query}")) as backend, backend._connections.checkout() as checkout:
            driver: Any = checkout.connection.connection.driver_connection
            assert driver._read_timeout == expected


# The table.


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


def test_a_viewer_inside_a_transaction_sees_what_is_new(engine: Engine, url: str) -> None:
    with closing(SQLBackend(engine)) as viewer, closing(SQLBackend(url)) as backend:
        for seq in range(1, 5):
            backend.write([update("job", seq)])
            assert viewer.read(["job"])["job"].version.seq == seq


# Ids and text.


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


# Cleaning up.


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
