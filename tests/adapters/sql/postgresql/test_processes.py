"""Several processes and one PostgreSQL: who makes the table, who writes what, and what a fork takes along."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import NoReturn

import pytest

from progresskit.errors import BackendUnavailable
from progresskit.progress import State, Write
from progresskit.testing import FakeClock, RecordingObserver
from progresskit.testing.model import Model
from progresskit.testing.writes import external_update, start, update
from progresskit_sql import SQLBackend
from progresskit_sql.listening import ListeningBackend
from tests.services import missing, patience, server
from tests.services.forking import Child, Signal, needs_fork
from tests.services.patience import be_patient

pytestmark = [
    needs_fork,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(patience.POSTGRESQL, monkeypatch)


@pytest.fixture
def url(missing_service: Callable[..., NoReturn]) -> str:
    if reason := missing("postgresql"):
        missing_service("postgresql", reason)
    return server("postgresql").fresh()


@pytest.fixture
def backend(url: str) -> Iterator[ListeningBackend]:
    with closing(SQLBackend(url)) as backend:
        assert isinstance(backend, ListeningBackend)
        yield backend


@pytest.fixture
def signal() -> Iterator[Signal]:
    with closing(Signal()) as signal:
        yield signal


# Histories that several processes write at once, in any order: each has tokens of its own, and all the same jobs.

JOBS = [f"job-{number}" for number in range(12)]


def turmoil(url: str, seed: int, count: int) -> None:
    """Write batches of all roles, ask to cancel and read; no version may go back, and nothing may fail."""
    chance = random.Random(seed)
    seen = dict.fromkeys(JOBS, (0, 0, 0))
    with closing(SQLBackend(url)) as backend:
        for number in range(count):
            ids = chance.sample(JOBS, chance.randint(1, len(JOBS)))
            token, seq = f"{seed}-{number // 10}", number % 10 + 1
            kinds: list[Callable[[str], Write]] = [
                lambda id, token=token: start(id, token=token),  # type: ignore[misc]
                lambda id, token=token, seq=seq: update(id, seq, token=token, current=seq),  # type: ignore[misc]
                lambda id, token=token, seq=seq: update(id, seq, token=token, state=State.SUCCEEDED),  # type: ignore[misc]
                lambda id: external_update(id),
                lambda id: external_update(id, State.FAILED),
            ]
            weights = (6, 20, 2, 3, 1)
            backend.write([chance.choices(kinds, weights)[0](id) for id in ids])
            if not number % 7:
                backend.request_cancel(chance.sample(JOBS, 3))
            for id, progress in backend.read(JOBS).items():
                assert progress.version >= seen[id]
                seen[id] = progress.version


def test_processes_that_write_the_same_jobs_in_any_order_never_block_each_other_and_no_version_goes_back(
    url: str,
) -> None:
    before = deadlocks()
    children = [Child(partial(turmoil, url, seed, 150)) for seed in range(3)]
    assert [child.succeeds() for child in children] == [True] * len(children)
    assert deadlocks() == before


def deadlocks() -> int:
    """Return how many there have been, those of other tests included."""
    with server("postgresql").connect() as look:  # type: ignore[attr-defined]
        (count,) = look.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    return int(count)


def test_one_history_comes_out_the_same_whichever_process_delivers_which_part(url: str, signal: Signal) -> None:
    """Writes of one owner commute: in what order they come does not matter, as the model says."""
    history = [start("job"), *(update("job", seq, current=seq) for seq in range(2, 120))]
    history.append(update("job", 120, state=State.SUCCEEDED, current=120))
    model = Model(FakeClock())
    for write in history:
        model.write([write])

    def deliver(part: int) -> None:
        signal.wait()
        writes = history[part::3]
        random.Random(part).shuffle(writes)
        with closing(SQLBackend(url)) as backend:
            for write in writes:
                backend.write([write])

    with closing(SQLBackend(url)) as backend:
        backend.write(history[:1])
        children = [Child(partial(deliver, part)) for part in range(3)]
        for _ in children:
            signal.give()
        assert [child.succeeds() for child in children] == [True] * 3
        assert backend.read(["job"])["job"].to_json() == model.read(["job"])["job"].to_json()


# Forks.


def test_parent_and_child_both_go_on_after_a_fork_and_the_parent_keeps_its_connections(url: str) -> None:
    observer = RecordingObserver()
    with (
        closing(SQLBackend(f"{url}&application_name=family")) as backend,
        server("postgresql").connect() as look,  # type: ignore[attr-defined]
    ):
        assert isinstance(backend, ListeningBackend)
        backend.subscribe(observer.notify_all, lambda: None).add(["parent", "child"])
        backend.write([start("parent"), start("child")])
        observer.wait_for(lambda progress: progress.id == "child")
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'family'"
        before = set(look.execute(query).fetchall())

        def work() -> None:
            backend.after_fork_in_child()
            gc.collect()
            for seq in range(2, 30):
                backend.write([update("child", seq)])
                assert backend.read(["child"])["child"].version.seq == seq
            backend.close()
            gc.collect()

        child = Child(work)
        for seq in range(2, 30):
            backend.write([update("parent", seq)])
        assert child.succeeds()
        assert {progress.version.seq for progress in backend.read(["parent", "child"]).values()} == {29}
        assert before <= set(look.execute(query).fetchall())
        backend.write([update("parent", 99)])
        observer.wait_for(lambda progress: progress.version.seq == 99)
        observer.wait_for(lambda progress: (progress.id, progress.version.seq) == ("child", 29))


def test_a_child_that_ends_as_python_does_closes_nothing_of_its_parents(backend: ListeningBackend) -> None:
    backend.write([start("job")])
    observer = RecordingObserver()
    backend.subscribe(observer.notify_all, lambda: None).add(["job"])
    pid = os.fork()
    if not pid:
        with suppress(BaseException):
            backend.after_fork_in_child()
            backend.write([update("job", 2)])
            gc.collect()
        backend.close()
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)
    backend.write([update("job", 3)])
    observer.wait_for(lambda progress: progress.version.seq == 3)


def test_a_child_listens_by_itself(backend: ListeningBackend) -> None:
    backend.write([start("job")])
    backend.subscribe(lambda records: None, lambda: None).add(["job"])

    def work() -> None:
        backend.after_fork_in_child()
        observer = RecordingObserver()
        backend.subscribe(observer.notify_all, lambda: None).add(["job"])
        backend.write([update("job", 2)])
        observer.wait_for(lambda progress: progress.version.seq == 2)
        backend.close()

    assert Child(work).succeeds()


def test_a_killed_writer_holds_nobody_up(url: str, backend: ListeningBackend) -> None:
    backend.write([start(id) for id in JOBS])
    child = Child(partial(turmoil, url, 9, 10**9))
    while backend.read(JOBS[:1])[JOBS[0]].version == (1, 1, 1):
        pass
    os.kill(child.pid, 9)
    assert not child.succeeds()
    try:
        backend.write([start(id, token="next") for id in JOBS])
    except BackendUnavailable as error:
        raise AssertionError("a dead writer's lock is still there") from error
