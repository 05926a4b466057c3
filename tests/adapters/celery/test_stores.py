"""What the result backends promise apart from the contract: no result is replaced, and records last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import Any, NoReturn

import pytest

from progresskit import Kit, Unsupported
from progresskit.errors import BackendUnavailable
from progresskit.progress import State
from progresskit.testing import external_update, start, update
from progresskit_celery.state.results import ResultsBackend
from progresskit_celery.state.store import Change
from tests.contract.celery_apps import address, imported, on_files, results_backend
from tests.services import patience
from tests.services.patience import be_patient
from tests.services.waiting import wait_until

from .stores import GENERIC, STORES, lacks, let_go, url_on

# Celery itself calls what newer versions of redis-py would rather have called otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(
        patience.CELERY_ON_A_DATABASE | patience.CELERY_ON_FILES | patience.CELERY_ON_MEMCACHED,
        monkeypatch,
    )


@pytest.fixture(params=GENERIC)
def store(request: pytest.FixtureRequest, missing_service: Callable[[str], NoReturn]) -> str:
    if lacks(request.param):
        missing_service(request.param)
    return str(request.param)


@pytest.fixture
def url(store: str, tmp_path: Path) -> Iterator[str]:
    url = url_on(store, tmp_path)
    yield url
    let_go(imported(url), store)


@pytest.fixture
def backend(url: str) -> Iterator[ResultsBackend]:
    with closing(results_backend(url)) as backend:
        yield backend


# Records that cannot be read


@pytest.mark.parametrize(
    "result",
    [
        None,
        7,
        {"current": 1},
        "",
        "no lines",
        "[]\n\n{}",
        "7\n\n{}",
        '[1,1,1,"t","paused",null,false,1,1,1]\n\n{}',
        "\n\n",
    ],
)
def test_a_result_that_is_no_record_is_absent_stops_nothing_and_is_written_over(
    result: Any, backend: ResultsBackend
) -> None:
    backend.write([start("bad"), start("good")])
    backend._store.change({backend._name("bad"): lambda meta, now: Change(result, 3_600.0, now + 3_600.0)})
    assert backend.read(["bad", "good"]).keys() == {"good"}
    assert backend.request_cancel(["bad", "good"]) == backend.cancel_requested(["bad", "good"]) == {"good"}
    runs = backend.write([update("good", 2, current=5), start("bad", token="next", current=7)])
    assert runs["bad"] >= 1
    assert {id: progress.current for id, progress in backend.read(["bad", "good"]).items()} == {"bad": 7, "good": 5}


# Time


def expired(app: Any) -> None:
    """Do what Celery does once a day."""
    app.backend.cleanup()


def test_a_record_outlives_the_results_by_its_ttl(store: str, tmp_path: Path) -> None:
    url = url_on(store, tmp_path, result_expires=1)
    app = imported(url)
    try:
        with closing(results_backend(url)) as backend:
            backend.write([start("long", ttl=3_600), start("short", ttl=0.5)])
            began = time()
            wait_until(lambda: time() > began + 2, "the results would be gone")
            expired(app)
            assert backend.read(["long", "short"]).keys() == {"long"}
            assert backend._store.read(["progresskit-short"])[0] == {}, "nothing is left of it"
    finally:
        app.conf.update(result_expires=86_400)
        let_go(app, store)


def test_no_state_of_a_record_is_final_for_celery(url: str, backend: ResultsBackend) -> None:
    backend.write([start("job", state=State.FAILED)])
    assert not imported(url).AsyncResult("progresskit-job").ready()


def test_parts_are_not_added_up_which_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Kit(on_files(tmp_path))) as kit, caplog.at_level(logging.WARNING):
        with pytest.raises(Unsupported):
            kit.group("album", size=2)
        for name in "ab":
            with kit.part("album", name) as part:
                part.advance()
        kit.flush(60)
        assert kit.get("album") is None
    assert [record.message for record in caplog.records if "add up the parts" in record.message] == [
        f"{kit.settings.url} cannot add up the parts of jobs: they are not counted"
    ]


def test_a_call_that_is_not_answered_is_given_up_and_the_next_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    from progresskit_celery.state import bounded_executor

    monkeypatch.setattr(bounded_executor, "CALL_SECONDS", 0.05)
    left, gate = list[int](), Event()
    executor = bounded_executor.BoundedExecutor(lambda: left.append(1))
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="not answered"):
            executor.call("the store", gate.wait)
    monkeypatch.setattr(bounded_executor, "CALL_SECONDS", 10)
    assert executor.call("the store", lambda: 5) == 5
    gate.set()
    executor.close()
    wait_until(lambda: len(left) == 4, "every thread has left")


def test_an_answer_that_comes_at_the_very_end_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from progresskit_celery.state import bounded_executor

    class JustInTime(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            try:
                return super().result(timeout)
            except FutureTimeout:
                over.set()
                wait_until(self.done, "it is answered")
                raise

    over = Event()
    monkeypatch.setattr(bounded_executor, "Future", JustInTime)
    monkeypatch.setattr(bounded_executor, "CALL_SECONDS", 0.05)
    executor = bounded_executor.BoundedExecutor()
    assert executor.call("the store", lambda: int(over.wait(60))) == 1
    executor.close()


# Memcached's clock


def test_a_supervisor_ends_a_run_though_memcached_states_its_time_in_whole_seconds(
    tmp_path: Path, missing_service: Callable[[str], NoReturn]
) -> None:
    if lacks("memcached"):
        missing_service("memcached")
    from progresskit_celery.state.on_cache import LAG_SECONDS

    url = address(STORES["memcached"][1](tmp_path))
    app = imported(url)

    client, numbers = app.backend.client, count()

    def is_late(stated: bytes) -> bool:
        """Return whether the server states another time now, or stated that one for too long."""
        return bool(client.stats()[b"time"] != stated or time() - float(stated) > LAG_SECONDS)

    def cut_short(id: str) -> State | None:
        """Return the state of a run that a supervisor ended; None where the server was late to look at its clock."""
        with closing(results_backend(url)) as worker, closing(results_backend(url)) as supervisor:
            ticked = next_tick(client)
            stated = client.stats()[b"time"]
            worker.read([id])  # asks for the time just after the server's clock has ticked
            if is_late(stated):
                return None
            wait_until(lambda: monotonic() - ticked > 0.9, "the last tenth of that second")
            stated = client.stats()[b"time"]
            worker.write([start(id, age=0.0)])
            # This write asks for the time just before the clock ticks again.
            supervisor.write([external_update(id, State.CANCELLED)])
            if is_late(stated):
                return None
            return supervisor.read([id])[id].state

    state = wait_until(lambda: cut_short(f"cut-short-{next(numbers)}"), "the server looks at its clock in time")
    assert state is State.CANCELLED
    let_go(app, "memcached")


def next_tick(client: Any) -> float:
    """Wait until the clock of memcached ticks; return when it did, in seconds of the monotonic clock."""
    before = client.stats()[b"time"]
    wait_until(lambda: client.stats()[b"time"] != before, "memcached's clock ticks")
    return monotonic()
