"""A forked child works on its own connections, and its parent goes on with those that it had."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from threading import Event, Thread

import pytest
from sqlalchemy import Engine

from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend
from tests.services.forking import Child, needs_fork

pytestmark = [
    needs_fork,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def test_parent_and_child_both_go_on_after_a_fork(url: str) -> None:
    with closing(SQLBackend(url)) as backend:
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


def test_forks_beside_busy_threads_leave_every_child_able_to_write(url: str) -> None:
    done = Event()
    with closing(SQLBackend(url)) as backend:

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

        ids = [f"child-{number}" for number in range(15)]
        succeeded = [Child(partial(work, id)).succeeds() for id in ids]
        done.set()
        for thread in threads:
            thread.join()
        assert all(succeeded)
        assert backend.read(ids).keys() == set(ids)


def test_a_given_engine_shares_no_connection_with_a_forked_child(engine: Engine) -> None:
    with closing(SQLBackend(engine)) as backend:
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
