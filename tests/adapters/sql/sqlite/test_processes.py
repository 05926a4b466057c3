"""Several processes and one file: who makes it, and what a fork takes along."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import create_engine

from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend
from tests.services import patience
from tests.services.forking import Child, Signal, needs_fork
from tests.services.patience import be_patient

pytestmark = [
    needs_fork,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(patience.SQLITE, monkeypatch)


@pytest.fixture
def signal() -> Iterator[Signal]:
    with closing(Signal()) as signal:
        yield signal


def open_files(path: Path) -> set[str]:
    """Return which of the database's files this process has open."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    targets = {os.readlink(link) for link in links if link.is_symlink()}
    return {target for target in targets if target.startswith(str(path))}


def test_processes_that_make_the_same_database_at_once_all_succeed(tmp_path: Path, signal: Signal) -> None:
    count, files = 4, [tmp_path / f"{number}.db" for number in range(10)]

    def make(child: int) -> None:
        signal.wait()
        for file in files:
            with closing(SQLBackend(f"sqlite:///{file}")) as backend:
                backend.write([start(f"job-{child}")])

    children = [Child(partial(make, child)) for child in range(count)]
    for _ in children:
        signal.give()
    assert [child.succeeds() for child in children] == [True] * count
    for file in files:
        with closing(SQLBackend(f"sqlite:///{file}")) as backend:
            assert len(backend.read([f"job-{child}" for child in range(count)])) == count


def test_a_fork_takes_no_connection_along(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    assert open_files(path)

    def look() -> None:
        assert open_files(path) == set()

    assert Child(look).succeeds()
    backend.write([update("job", 2)])
    assert open_files(path)


def test_parent_and_child_both_go_on_after_a_fork(path: Path, backend: SQLBackend) -> None:
    backend.write([start("parent"), start("child")])

    def work() -> None:
        backend.after_fork_in_child()
        for seq in range(2, 30):
            backend.write([update("child", seq)])
            assert backend.read(["child"])["child"].version.seq == seq

    child = Child(work)
    for seq in range(2, 30):
        backend.write([update("parent", seq)])
    assert child.succeeds()
    assert {progress.version.seq for progress in backend.read(["parent", "child"]).values()} == {29}


def test_a_child_loses_nothing_when_its_parent_closes_the_database(
    path: Path, backend: SQLBackend, signal: Signal
) -> None:
    backend.write([start("job")])

    def work() -> None:
        backend.after_fork_in_child()
        backend.write([update("job", 2)])
        signal.wait()
        backend.write([update("job", 3)])

    child = Child(work)
    while backend.read(["job"])["job"].version.seq < 2:
        pass
    backend.close()
    signal.give()
    assert child.succeeds()
    assert backend.read(["job"])["job"].version.seq == 3


def test_forks_beside_busy_threads_leave_every_child_able_to_write(path: Path, backend: SQLBackend) -> None:
    done = Event()

    def write() -> None:
        backend.write([start("thread")])
        seq = 2
        while not done.is_set():
            backend.write([update("thread", seq)])
            seq += 1

    def read() -> None:
        while not done.is_set():
            backend.read(["thread"])

    threads = [Thread(target=write), Thread(target=read), Thread(target=read)]
    for thread in threads:
        thread.start()

    def work(id: str) -> None:
        backend.after_fork_in_child()
        backend.write([start(id)])
        assert backend.read([id])

    ids = [f"child-{number}" for number in range(20)]
    succeeded = [Child(partial(work, id)).succeeds() for id in ids]
    done.set()
    for thread in threads:
        thread.join()
    assert all(succeeded)
    assert backend.read(ids).keys() == set(ids)


def test_a_given_engine_shares_no_connection_with_a_forked_child(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    backend = SQLBackend(engine)
    backend.write([start("parent")])
    inherited = engine.raw_connection()
    before = inherited.driver_connection
    inherited.close()

    def work() -> None:
        backend.after_fork_in_child()
        backend.write([start("child")])
        connection = engine.raw_connection()
        assert connection.driver_connection is not before
        connection.close()

    assert Child(work).succeeds()
    backend.write([update("parent", 2)])
    assert backend.read(["parent", "child"]).keys() == {"parent", "child"}
    engine.dispose()


def test_a_database_in_memory_begins_empty_in_a_forked_child_and_stays_in_the_parent() -> None:
    with closing(SQLBackend("sqlite://")) as backend:
        backend.write([start("job")])

        def work() -> None:
            backend.after_fork_in_child()
            assert backend.read(["job"]) == {}
            backend.write([start("child")])

        assert Child(work).succeeds()
        assert backend.read(["job", "child"]).keys() == {"job"}
