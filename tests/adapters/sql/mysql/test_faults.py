"""What goes wrong with a MariaDB server is told as `BackendUnavailable`, and the same backend works again with it."""

from __future__ import annotations

import gc
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic
from typing import Any, NoReturn

import pymysql
import pytest
from pymysql.constants import CR, ER
from sqlalchemy import create_engine, make_url

from progresskit.errors import BackendUnavailable
from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend
from progresskit_sql.mysql import MySQL
from tests.services import missing, patience, refusals
from tests.services.mariadb import MariaDB
from tests.services.patience import HASTY_SECONDS, be_hasty
from tests.services.proxy import Proxy
from tests.services.waiting import wait_until


@pytest.fixture(scope="module", autouse=True)
def needed(missing_service: Callable[..., NoReturn]) -> None:
    if reason := missing("mariadb"):
        missing_service("mariadb", reason)


def quietly(act: Callable[[], object]) -> None:
    """Have a server start: PyMySQL leaves the socket of a refused connection to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        act()
        gc.collect()


@pytest.fixture(scope="module")
def private() -> Iterator[MariaDB]:
    """Give a server that may be harmed."""
    # Little room for tables: 40 MB in all.
    room = ["innodb_file_per_table = 0", "innodb_data_file_path = ibdata1:12M:autoextend:max:40M"]
    mariadb = MariaDB(settings=room)
    quietly(mariadb.start)
    yield mariadb
    mariadb.stop()


IN_TIME = HASTY_SECONDS + 3
"""Seconds within which a call has to end, whatever the server does; generous, for a busy machine."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    be_hasty(patience.MARIADB, monkeypatch)


@pytest.fixture
def url(private: MariaDB) -> str:
    return private.fresh()


@pytest.fixture
def backend(url: str) -> Iterator[SQLBackend]:
    with closing(SQLBackend(url)) as backend:
        yield backend


def refused(call: Callable[[], object], within: float | None = None) -> None:
    """Expect a call to be refused, by a message without the password."""
    assert "s3cret" not in refusals.refused(call, within)


def calls(backend: SQLBackend, seq: int) -> list[Callable[[], object]]:
    return [
        lambda: backend.write([update("job", seq)]),
        lambda: backend.write([start("job", token="next"), start("other")]),
        lambda: backend.read(["job"]),
        lambda: backend.request_cancel(["job"]),
        lambda: backend.cancel_requested(["job"]),
        lambda: backend.list(kind=None, states=None, limit=9),
    ]


def test_a_server_that_was_killed_is_reported_and_used_again_when_it_is_back(
    private: MariaDB, backend: SQLBackend
) -> None:
    backend.write([start("job")])
    for seq in range(2, 5):
        private.kill()
        for call in calls(backend, seq):
            refused(call)
        quietly(private.start)
        backend.write([update("job", seq)])
        assert backend.read(["job"])["job"].version.seq == seq, "no connection of before is in the way"


def test_a_server_that_was_restarted_unseen_is_reported_to_the_writer_once(
    private: MariaDB, backend: SQLBackend
) -> None:
    backend.write([start("job")])
    private.kill()
    quietly(private.start)
    assert backend.read(["job"])["job"].version.seq == 1, "a reader need not know"
    refused(lambda: backend.write([update("job", 2)]))
    backend.write([update("job", 2)])
    assert backend.read(["job"])["job"].version.seq == 2


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_paused_server_holds_no_call_for_long_and_is_used_again(private: MariaDB, backend: SQLBackend) -> None:
    backend.write([start("job")])
    private.pause()
    try:
        for call in calls(backend, 2)[1:3]:
            refused(call, IN_TIME)
    finally:
        private.resume()
    backend.write([update("job", 3)])
    assert backend.read(["job"])["job"].version.seq == 3


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_what_accepts_connections_and_never_answers_holds_no_call_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = SQLBackend(f"mysql://u:s3cret@127.0.0.1:{silent.getsockname()[1]}/x")
        refused(lambda: backend.read(["job"]), IN_TIME)
        backend.close()


def test_a_connection_that_is_cut_in_the_middle_of_a_batch_leaves_all_of_it_or_nothing(
    private: MariaDB, url: str
) -> None:
    ids = [f"job-{number}" for number in range(300)]
    with Proxy(private.port) as proxy:
        through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        with closing(SQLBackend(through)) as backend:
            backend.write([start(id) for id in ids])
            for seq, count in enumerate((1, 10, 1_000, 50_000, 100_000), 2):
                cut = proxy.cut_after(count)
                refused(lambda seq=seq: backend.write([update(id, seq) for id in ids]))  # type: ignore[misc]
                assert cut.wait(60)
                assert {progress.version.seq for progress in backend.read(ids).values()} == {seq - 1}
                backend.write([update(id, seq) for id in ids])
                assert {progress.version.seq for progress in backend.read(ids).values()} == {seq}


def test_refused_connections_are_reported_and_pass(private: MariaDB, url: str) -> None:
    with Proxy(private.port) as proxy:
        through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        with closing(SQLBackend(through)) as backend:
            backend.write([start("job")])
            proxy.refuse()
            proxy.cut()
            for _ in range(10):
                refused(lambda: backend.write([update("job", 2)]))
                refused(lambda: backend.read(["job"]))
            proxy.accept()
            backend.write([update("job", 2)])
            assert backend.read(["job"])["job"].version.seq == 2


def test_a_server_that_only_allows_reading_is_read(private: MariaDB, backend: SQLBackend) -> None:
    backend.write([start("job")])
    private.execute("SET GLOBAL read_only = 1")
    try:
        for _ in range(2):
            refused(lambda: backend.write([update("job", 2)]))
            refused(lambda: backend.write([start("job"), start("other")]))
            refused(lambda: backend.request_cancel(["job"]))
            assert backend.read(["job", "other"]).keys() == {"job"}
    finally:
        private.execute("SET GLOBAL read_only = 0")
    backend.write([update("job", 2)])


def test_a_full_server_is_reported_and_what_was_stored_stays(private: MariaDB, backend: SQLBackend) -> None:
    backend.write([start("job")])
    batch = [start(f"job-{number}", result="x" * 60_000) for number in range(200)]
    taken = list[int]()
    with pytest.raises(BackendUnavailable, match="is full"):
        for round in range(20):
            backend.write([write._replace(id=f"{write.id}-{round}") for write in batch])
            taken.append(round)
    assert len(taken) < 10
    ids = ["job", f"job-0-{len(taken)}", f"job-199-{len(taken)}"]
    assert backend.read(ids).keys() == {"job"}, "a batch is taken whole or not"
    private.execute(f"DROP TABLE {make_url(str(backend._connections)).database}.progresskit_jobs")
    private.execute("SET GLOBAL innodb_max_purge_lag_wait = 0")  # it returns when what was dropped is free room
    refused(lambda: backend.write([start("job")]))
    assert len(backend.write(batch)) == 200, "there is room again, and the table with it"


def test_no_connection_left_is_reported_and_passes(private: MariaDB, url: str) -> None:
    database = make_url(url).database
    private.execute("CREATE USER one@127.0.0.1 IDENTIFIED BY 's3cret' WITH MAX_USER_CONNECTIONS 1")
    private.execute(f"GRANT ALL ON {database}.* TO one@127.0.0.1")
    mine = make_url(url).set(username="one", password="s3cret").render_as_string(hide_password=False)
    with closing(SQLBackend(mine)) as first, closing(SQLBackend(mine)) as second:
        first.write([start("job")])
        for _ in range(3):
            refused(lambda: second.read(["job"]))
        first.close()
        deadline = monotonic() + 60
        while True:  # the server takes a moment to see that one has left
            try:
                assert second.read(["job"]).keys() == {"job"}
                break
            except BackendUnavailable:
                assert monotonic() < deadline


@pytest.mark.parametrize("wrong", [{"password": "s3cret-but-wrong"}, {"username": "nobody"}, {"database": "store_x"}])
def test_who_is_not_let_in_is_notified_and_may_be_let_in_later(wrong: dict[str, str], url: str) -> None:
    there = make_url(url).set(**wrong).render_as_string(hide_password=False)  # type: ignore[arg-type]
    with closing(SQLBackend(there)) as backend:
        refused(lambda: backend.read(["job"]))
        refused(lambda: backend.write([start("job")]))


def test_a_host_that_nobody_knows_is_reported() -> None:
    with closing(SQLBackend("mysql://u:s3cret@no-such-host.invalid/x")) as backend:
        refused(lambda: backend.read(["job"]))


def test_a_killed_session_is_replaced_before_it_is_used(private: MariaDB, backend: SQLBackend) -> None:
    backend.write([start("job")])
    for _ in range(3):
        with backend._connections.checkout() as checkout:
            driver: Any = checkout.connection.connection.driver_connection
            session = driver.thread_id()
        private.execute(f"KILL {session}")
        assert backend.read(["job"]).keys() == {"job"}


def test_mysql_is_reached_by_the_name_of_mariadb_too() -> None:
    # As it says of itself, which is what SQLAlchemy goes by. By 5.7.10 variables still had the names they have here.
    mysql = MariaDB(settings=["version = 5.7.10"])
    quietly(mysql.start)
    try:
        with closing(SQLBackend(mysql.fresh())) as backend:
            assert backend.write([start("job")]) == {"job": 1}
    finally:
        mysql.stop()


def test_a_socket_of_the_machine_can_be_used(private: MariaDB, url: str) -> None:
    database = make_url(url).database
    private.execute("CREATE USER near@localhost IDENTIFIED BY 's3cret'")
    private.execute(f"GRANT ALL ON {database}.* TO near@localhost")
    with closing(SQLBackend(f"mysql://near:s3cret@/{database}?unix_socket={private._socket}")) as backend:
        assert backend.write([start("job")]) == {"job": 1}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_left_behind_by_errors(private: MariaDB, url: str) -> None:
    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    with closing(SQLBackend(url)) as backend, Proxy(private.port) as proxy:
        backend.write([start("job")])
        before, threads = descriptors(), set(threading.enumerate())
        through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        with closing(SQLBackend(through)) as other:
            for seq in range(2, 22):
                other.write([update("job", seq)])
                proxy.cut()
                refused(lambda seq=seq: other.write([update("job", seq + 1)]))  # type: ignore[misc]
        # What tests before this one have left may come to its end meanwhile.
        wait_until(lambda: descriptors() <= before, "the proxy has closed what it had open")
        assert set(threading.enumerate()) <= threads


# Errors by their numbers.

passes = MySQL(make_url("mysql://host/x"), "progresskit").passes

PASS = {
    CR.CR_CONN_HOST_ERROR: "Can't connect",
    CR.CR_SERVER_GONE_ERROR: "gone away",
    CR.CR_SERVER_LOST: "lost",
    ER.DISK_FULL: "disk full",
    ER.GET_ERRNO: "from the storage engine",
    ER.OUTOFMEMORY: "out of memory",
    ER.OUT_OF_SORTMEMORY: "out of memory for sorting",
    ER.OUT_OF_RESOURCES: "out of memory for a thread",
    ER.CON_COUNT_ERROR: "too many connections",
    ER.HANDSHAKE_ERROR: "bad handshake",
    ER.UNKNOWN_COM_ERROR: "a Galera node that is not ready",
    ER.DBACCESS_DENIED_ERROR: "no right to the database",
    ER.ACCESS_DENIED_ERROR: "wrong password",
    ER.BAD_DB_ERROR: "no such database",
    ER.SERVER_SHUTDOWN: "shutting down",
    ER.RECORD_FILE_FULL: "table full",
    ER.HOST_IS_BLOCKED: "host blocked",
    ER.TABLEACCESS_DENIED_ERROR: "no right to the table",
    ER.NO_SUCH_TABLE: "no table",
    ER.TOO_MANY_USER_CONNECTIONS: "too many connections of the user",
    ER.LOCK_WAIT_TIMEOUT: "lock wait",
    ER.LOCK_TABLE_FULL: "lock table full",
    ER.LOCK_DEADLOCK: "deadlock",
    ER.USER_LIMIT_REACHED: "limit of the user",
    ER.OPTION_PREVENTS_STATEMENT: "read-only",
    ER.QUERY_INTERRUPTED: "interrupted",
    1792: "a transaction that only reads",
    1836: "read-only mode",
    1927: "connection killed, by MariaDB",
    1969: "statement timeout of MariaDB",
    3024: "statement timeout of MySQL",
    3032: "MySQL offline",
    3572: "lock not available now",
    4031: "MySQL ends an idle connection",
}
STAY = {
    ER.BAD_NULL_ERROR: "a value missing",
    ER.BAD_FIELD_ERROR: "a column missing",
    ER.KEY_DOES_NOT_EXITS: "an index missing",
    ER.PARSE_ERROR: "syntax",
    ER.NET_PACKET_TOO_LARGE: "over max_allowed_packet",
    ER.WARN_DATA_OUT_OF_RANGE: "out of range",
    1690: "out of range in an expression",
    ER.DATA_TOO_LONG: "too long",
    ER.TRUNCATED_WRONG_VALUE_FOR_FIELD: "no text of the character set",
}


@pytest.mark.parametrize("number", [*PASS, *STAY])
def test_an_error_of_the_server_is_reported_as_what_it_is(number: int) -> None:
    message = PASS.get(number) or STAY.get(number) or ""
    with pytest.raises(pymysql.Error) as raised:
        packet = b"\xff" + number.to_bytes(2, "little") + b"#HY000" + message.encode()
        pymysql.err.raise_mysql_exception(packet)
    assert passes(raised.value) == (number in PASS)


def test_errors_without_a_number_are_reported_as_what_they_are() -> None:
    assert passes(pymysql.err.InterfaceError(0, ""))
    assert passes(pymysql.err.InternalError("Packet sequence number wrong - got 3 expected 1"))
    assert passes(pymysql.err.Error("Already closed"))
    assert not passes(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"))
    assert not passes(OverflowError())


def test_a_given_engine_outlives_its_server(private: MariaDB, url: str) -> None:
    engine = create_engine(url)
    with closing(SQLBackend(engine)) as backend:
        backend.write([start("job")])
        private.kill()
        refused(lambda: backend.write([update("job", 2)]))
        refused(lambda: backend.read(["job"]))
        quietly(private.start)
        backend.write([update("job", 2)])
        assert backend.read(["job"])["job"].version.seq == 2
    engine.dispose()


def test_a_server_that_replicates_by_statements_is_written_to() -> None:
    mariadb = MariaDB(settings=["log_bin = on", "binlog_format = STATEMENT"])
    quietly(mariadb.start)
    try:
        with closing(SQLBackend(mariadb.fresh())) as backend:
            backend.write([start("job"), start("short", ttl=1e-3)])
            backend._sweep_at = 0
            backend.write([update("job", 2)])
            assert backend.request_cancel(["job"]) == {"job"}
            assert backend.read(["job", "short"])["job"].version.seq == 2
    finally:
        mariadb.stop()
