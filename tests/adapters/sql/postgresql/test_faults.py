"""What goes wrong with a PostgreSQL server is told as `BackendUnavailable`, and the same object works again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as threads
from time import perf_counter
from typing import NoReturn

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

from progresskit.errors import BackendUnavailable
from progresskit.progress import State
from progresskit.testing import RecordingObserver
from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend, listening
from progresskit_sql.listening import ListeningBackend
from tests.services import patience
from tests.services.patience import HASTY_SECONDS, be_hasty
from tests.services.postgresql import PostgreSQL
from tests.services.proxy import Proxy
from tests.services.refusals import refused
from tests.services.waiting import wait_until

IN_TIME = HASTY_SECONDS + 4
"""Seconds within which a call has to end, whatever the server does; generous, for a busy machine."""


@pytest.fixture(scope="module")
def harmed(missing_service: Callable[..., NoReturn]) -> Iterator[PostgreSQL]:
    """Give a server that the tests of this file may do to whatever they like, if they leave it running."""
    if reason := PostgreSQL.missing():
        missing_service("postgresql", reason)
    with PostgreSQL(durable=True) as server:
        yield server


@pytest.fixture
def url(harmed: PostgreSQL) -> str:
    return harmed.fresh()


@pytest.fixture
def backend(url: str) -> Iterator[ListeningBackend]:
    with closing(SQLBackend(url)) as backend:
        assert isinstance(backend, ListeningBackend)
        yield backend


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    be_hasty(patience.POSTGRESQL, monkeypatch)


class Watcher:
    """Watches a job by what is pushed."""

    def __init__(self, backend: ListeningBackend, id: str = "job") -> None:
        self.observer, self.losses = RecordingObserver(), 0
        self.again = Event()
        self.listener = backend.subscribe(self.observer.notify_all, self._lost)
        self.listener.add([id])

    def _lost(self) -> None:
        self.losses += 1
        self.again.set()

    def sees(self, seq: int) -> None:
        self.observer.wait_for(lambda progress: progress.version.seq == seq)

    def sees_soon(self, backend: ListeningBackend, id: str, seq: int) -> bool:
        """Say whether a change that is made now is told; if not, then that something was missed has to be."""
        self.again.clear()
        backend.write([update(id, seq)])

        def is_notified() -> bool:
            return any(progress.version.seq == seq for progress in self.observer.records)

        wait_until(lambda: is_notified() or self.again.is_set(), "it is told of the change, or of a loss")
        return is_notified()


def eventually(call: Callable[[], object]) -> None:
    """Call again until it is not refused."""

    def succeeds() -> bool:
        try:
            call()
        except BackendUnavailable:
            return False
        return True

    wait_until(succeeds, "the backend works again")


@contextmanager
def paused(server: PostgreSQL) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def admin(server: PostgreSQL, statement: str) -> None:
    server.execute(statement, database="postgres")


def sessions(server: PostgreSQL) -> int:
    """Return how many there are of the user of the stores."""
    with server.connect() as look:
        (count,) = look.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'progresskit'").fetchone()
    return int(count)


# Away.


def test_a_killed_server_is_reported_and_used_again_when_it_is_back(
    harmed: PostgreSQL, backend: ListeningBackend
) -> None:
    backend.write([start("job")])
    watcher = Watcher(backend)
    harmed.kill()
    for call in (lambda: backend.write([update("job", 2)]), lambda: backend.read(["job"])):
        refused(call)
    harmed.start()
    eventually(lambda: backend.write([update("job", 3)]))
    assert watcher.again.wait(60)
    backend.write([update("job", 4)])
    watcher.sees(4)
    assert watcher.losses == 1


def test_an_end_that_was_taken_survives_a_crash(harmed: PostgreSQL, backend: ListeningBackend) -> None:
    ids = [f"job-{number}" for number in range(50)]
    backend.write([start(id) for id in ids])
    for id in ids:
        backend.write([update(id, 2, state=State.SUCCEEDED)])
    harmed.kill()
    harmed.start()
    records = backend.read(ids)
    assert [records[id].state for id in ids] == [State.SUCCEEDED] * len(ids)


def test_a_writer_whose_idle_connection_did_not_survive_a_crash_is_notified_that_something_may_be_missing(
    harmed: PostgreSQL, backend: ListeningBackend
) -> None:
    backend.write([start("job")])
    harmed.kill()
    harmed.start()
    assert backend.read(["unknown"]) == {}, "a reader need not know"
    refused(lambda: backend.write([update("job", 2)]))
    backend.write([update("job", 2)])


def test_connections_that_were_ended_while_they_were_idle_are_not_used(
    harmed: PostgreSQL, backend: ListeningBackend
) -> None:
    began, calls = Event(), list[Thread]()
    for _ in range(6):  # so that several are in the pool
        calls.append(Thread(target=lambda: began.wait(60) and backend.read(["job"])))
        calls[-1].start()
    began.set()
    for call in calls:
        call.join()
    admin(harmed, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'progresskit'")
    for _ in range(10):
        assert backend.read(["job"]) == {}


# Silent.


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_paused_server_holds_no_call_up_and_is_used_again(harmed: PostgreSQL, backend: ListeningBackend) -> None:
    backend.write([start("job")])
    watcher = Watcher(backend)
    with paused(harmed):
        refused(lambda: backend.write([update("job", 2)]), IN_TIME)
        refused(lambda: backend.read(["job"]), IN_TIME)
        refused(lambda: backend.request_cancel(["job"]), IN_TIME)
    eventually(lambda: backend.write([update("job", 3)]))
    # On a busy machine it was paused for so long that the listener has given it up, and is told of that instead.
    seqs = count(4)
    wait_until(lambda: watcher.sees_soon(backend, "job", next(seqs)), "it is told")


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_paused_server_holds_up_no_first_call_either(harmed: PostgreSQL, url: str) -> None:
    with closing(SQLBackend(url)) as backend, paused(harmed):
        assert isinstance(backend, ListeningBackend)
        refused(lambda: backend.write([start("job")]), IN_TIME)
        refused(lambda: backend.subscribe(lambda records: None, lambda: None).add(["job"]), IN_TIME)


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_paused_server_does_not_hold_up_closing(harmed: PostgreSQL, url: str) -> None:
    before = set(threads())
    backend = SQLBackend(url)
    assert isinstance(backend, ListeningBackend)
    backend.write([start("job")])
    Watcher(backend)
    with paused(harmed):
        began = perf_counter()
        backend.close()
        assert perf_counter() - began < IN_TIME
    assert not {thread for thread in set(threads()) - before if thread.name.startswith("progresskit-")}


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_given_engine_is_held_up_no_longer(harmed: PostgreSQL, url: str) -> None:
    engine = create_engine(url)
    with closing(SQLBackend(engine)) as backend:
        backend.write([start("job")])
        with paused(harmed):
            refused(lambda: backend.write([update("job", 2)]), IN_TIME)
        eventually(lambda: backend.write([update("job", 3)]))
    engine.dispose()


def test_a_listener_notices_by_itself_that_the_other_end_is_gone(
    harmed: PostgreSQL, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.2)
    with Proxy(harmed.port) as proxy, closing(SQLBackend(make_url(url).set(port=proxy.port))) as backend:
        assert isinstance(backend, ListeningBackend)
        watcher = Watcher(backend)
        with paused(harmed):
            wait_until(lambda: watcher.listener._connection is None, "it has given up")  # type: ignore[attr-defined]
        assert watcher.again.wait(60)


def test_a_listener_notices_that_the_server_does_not_know_of_it(
    backend: ListeningBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a pooler that takes LISTEN and gives the connection to somebody else."""
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.05)
    watcher = Watcher(backend)
    watcher.listener._channel = "another"  # type: ignore[attr-defined]
    assert watcher.again.wait(60)
    assert "pooler=on" in caplog.text


# Cut, refused.


def test_a_connection_cut_in_the_middle_of_a_write_is_reported(harmed: PostgreSQL, url: str) -> None:
    with Proxy(harmed.port) as proxy, closing(SQLBackend(make_url(url).set(port=proxy.port))) as backend:
        assert isinstance(backend, ListeningBackend)
        ids = [f"job-{number}" for number in range(300)]
        backend.write([start(id) for id in ids])
        watcher = Watcher(backend, ids[0])
        for cut in (10, 5_000, 50_000):
            proxy.cut_after(cut)
            batch = [update(id, cut) for id in ids]
            refused(lambda batch=batch: [backend.write(batch) for _ in range(3)])  # type: ignore[misc]
            eventually(lambda batch=batch: backend.write(batch))  # type: ignore[misc]
            assert watcher.again.wait(60)
            watcher.again.clear()
        assert {progress.version.seq for progress in backend.read(ids).values()} == {50_000}
        # It may be cut off still, and then it is told to look again instead; in the end it is told of a change itself.
        seqs = count(60_000)
        wait_until(lambda: watcher.sees_soon(backend, ids[0], next(seqs)), "it is told again")


def test_a_server_that_refuses_connections_is_tried_again(harmed: PostgreSQL, url: str) -> None:
    with Proxy(harmed.port) as proxy, closing(SQLBackend(make_url(url).set(port=proxy.port))) as backend:
        assert isinstance(backend, ListeningBackend)
        backend.write([start("job")])
        watcher = Watcher(backend)
        proxy.refuse()
        proxy.cut()
        for _ in range(3):
            refused(lambda: backend.write([update("job", 2)]))
        proxy.accept()
        eventually(lambda: backend.write([update("job", 3)]))
        assert watcher.again.wait(60)
        backend.write([update("job", 4)])
        watcher.sees(4)


def test_a_server_without_a_free_place_is_tried_again(harmed: PostgreSQL, url: str) -> None:
    wait_until(lambda: sessions(harmed) == 0, "the sessions of other tests have ended")
    admin(harmed, "ALTER ROLE progresskit CONNECTION LIMIT 1")
    try:
        with closing(SQLBackend(url)) as backend:
            holder = psycopg.connect(url.replace("+psycopg", ""))
            refused(lambda: backend.write([start("job")]))
            holder.close()
            eventually(lambda: backend.write([start("job")]))
    finally:
        admin(harmed, "ALTER ROLE progresskit CONNECTION LIMIT -1")


# Not able to write.


def test_a_database_that_is_read_only_is_read_and_reported(harmed: PostgreSQL, url: str) -> None:
    with closing(SQLBackend(url)) as backend:
        backend.write([start("job")])
    read_only = f"{url}%20-cdefault_transaction_read_only%3Don"
    with closing(SQLBackend(read_only)) as backend:
        assert backend.read(["job"]).keys() == {"job"}
        refused(lambda: backend.write([update("job", 2)]))
        refused(lambda: backend.request_cancel(["job"]))
        assert backend.read(["job"])["job"].version.seq == 1
        assert [progress.id for progress in backend.list(kind=None, states=None, limit=9)] == ["job"]


def test_a_server_whose_disk_is_full_is_reported(url: str, backend: ListeningBackend) -> None:
    """As the server itself says it; the rest of what may go wrong with it has the same class."""
    backend.write([start("job")])
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE trouble (code text)")
        connection.execute("""
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = (SELECT code FROM trouble); END $$
        """)
        connection.execute("CREATE TRIGGER fail BEFORE UPDATE ON progresskit_jobs EXECUTE FUNCTION fail()")
        for code in ("53100", "53200", "53300", "57P01", "57P03", "40001", "40P01", "55P03", "57014", "25006", "XX000"):
            connection.execute("DELETE FROM trouble")
            connection.execute("INSERT INTO trouble VALUES (%s)", [code])
            refused(lambda: backend.write([update("job", 2)]))
        connection.execute("DROP TRIGGER fail ON progresskit_jobs")
    backend.write([update("job", 2)])


@pytest.mark.timing
@pytest.mark.usefixtures("hasty")
def test_a_locked_row_is_waited_for_briefly_and_no_session_goes_on_waiting(
    harmed: PostgreSQL, url: str, backend: ListeningBackend
) -> None:
    backend.write([start("job"), start("other")])
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("UPDATE progresskit_jobs SET run = 1 WHERE id = 'job'")
        refused(lambda: backend.write([update("job", 2)]), IN_TIME)
        backend.write([update("other", 2)])
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with harmed.connect() as look:
            wait_until(lambda: look.execute(waiting).fetchone() == (0,), "the server itself has given up", 10)
    backend.write([update("job", 2)])


def test_a_call_that_a_signal_breaks_off_leaves_no_connection_in_the_middle_of_it(
    backend: ListeningBackend, url: str
) -> None:
    class Interruption(BaseException):
        pass

    def interrupt(*_: object) -> NoReturn:
        raise Interruption

    backend.write([start("job"), start("other")])
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute("UPDATE progresskit_jobs SET run = 1 WHERE id = 'job'")
            for _ in range(3):
                with pytest.raises(Interruption):
                    signal.setitimer(signal.ITIMER_REAL, 0.2)
                    backend.write([update("job", 2)])
                assert [*backend.read(["other"])] == ["other"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Nothing is left behind.


def test_no_connection_thread_or_descriptor_is_left_behind(harmed: PostgreSQL, url: str) -> None:
    def left() -> tuple[int, int, int]:
        return sessions(harmed), len(threads()), len(list(Path("/proc/self/fd").iterdir()))

    wait_until(lambda: sessions(harmed) == 0, "the sessions of other tests have ended")
    before = left()
    with closing(SQLBackend(url)) as backend:
        assert isinstance(backend, ListeningBackend)
        for number in range(20):
            watcher = Watcher(backend)
            subscribing = backend.subscribe_cancels(lambda ids: None, lambda: None)
            subscribing.add(["job"])
            backend.write([start("job", token=f"{number}")])
            watcher.observer.wait_for(lambda progress: True)
            watcher.listener.close()
            subscribing.close()
        Watcher(backend)
    # What tests before this one have left may come to its end meanwhile.
    wait_until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)), "all is as it was")
