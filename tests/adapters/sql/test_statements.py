"""What workers write takes one statement, and processes that open the same jobs at once all succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import NoReturn

import pytest

from progresskit.parts import Parts
from progresskit.progress import State
from progresskit.testing.helpers import read
from progresskit.testing.parts import report, send
from progresskit.testing.writes import declare, external_update, start, update
from progresskit_sql import SQLBackend
from tests.services import missing, patience, server
from tests.services.patience import be_patient

WRITERS, ROUNDS = 4, 10


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, missing_service: Callable[..., NoReturn]) -> str:
    name: str = request.param
    if name != "sqlite" and (reason := missing(name)):
        missing_service(name, reason)
    return f"sqlite:///{tmp_path}/progress.db" if name == "sqlite" else server(name).fresh()


@pytest.fixture
def backend(url: str) -> Iterator[SQLBackend]:
    with closing(SQLBackend(url)) as backend:
        yield backend


def test_what_workers_write_is_stored_without_a_decision_in_python(
    backend: SQLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.write([external_update("announced")])
    monkeypatch.setattr(backend._dialect, "lock", lambda *_: pytest.fail("the rows were locked"))
    assert backend.write([start("announced"), start("job")]) == {"announced": 1, "job": 1}
    for id in ("announced", "job"):
        batches = [[update(id, 2, current=2)], [update(id, 2, current=2)], [update(id, 3, state=State.SUCCEEDED)]]
        for batch in batches:
            backend.write([*batch, start(f"{id}-{batch[0].seq}-{len(batches)}")])
            batches = batches[1:]
        assert backend.read([id])[id].state is State.SUCCEEDED


def test_the_next_write_is_stored_without_a_decision_after_one_that_was_left_alone(
    backend: SQLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.write([start("job"), start("other")])
    backend.write([update("job", 2, token="stranger"), update("other", 2)])
    monkeypatch.setattr(backend._dialect, "lock", lambda *_: pytest.fail("the rows were locked"))
    backend.write([update("job", 2), update("other", 3)])
    assert {id: progress.version.seq for id, progress in backend.read(["job", "other"]).items()} == {
        "job": 2,
        "other": 3,
    }


def test_reports_of_parts_that_go_on_are_stored_without_a_decision_in_python(
    backend: SQLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend._dialect.has_report:
        send(backend, [declare("album", size=4), declare("other", size=1)], [report("album", "a", hundredths=100)])
        lock = backend._dialect.lock
        monkeypatch.setattr(backend._dialect, "lock", lambda *_: pytest.fail("the rows were locked"))
        for hundredths in (200, 300):
            reports = [report("album", name, hundredths=hundredths, is_start=name == "b") for name in "ab"]
            assert send(backend, [start(f"{hundredths}")], reports).keys() == {"album"}
        send(backend, [], [report("album", "a", State.SUCCEEDED), report("album", "c", State.FAILED)])
        monkeypatch.setattr(backend._dialect, "lock", lock)
        assert (read(backend, "album").parts, read(backend, "album").percent) == (Parts(4, 1, 1, 0, 1), 25.75)
        ends = [report("album", "d"), report("album", "d", State.SUCCEEDED), report("other", "a", State.SUCCEEDED)]
        assert send(backend, [], [*ends, report("album", "b", State.CANCELLED)]).keys() == {"album", "other"}
        assert (read(backend, "album").state, read(backend, "album").parts) == (State.FAILED, Parts(4, 2, 1, 1, 0))
        assert read(backend, "other").state is State.SUCCEEDED


def test_jobs_that_are_announced_and_begun_by_many_at_once_are_one_run_each_start(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits in (patience.SQLITE, patience.POSTGRESQL, patience.MARIADB):
        be_patient(limits, monkeypatch)
    begin = Barrier(WRITERS)

    def work(number: int) -> list[dict[str, int]]:
        granted = []
        with closing(SQLBackend(url)) as backend:
            for round in range(ROUNDS):
                ids = [f"{round}-{job}" for job in range(5)]
                begin.wait()
                backend.write([external_update(id) for id in ids[number % 2 :]])
                granted.append(backend.write([start(id, token=f"{number}") for id in ids]))
                backend.write([update(id, 2, token=f"{number}", run=granted[-1][id]) for id in ids])
        return granted

    with ThreadPoolExecutor(WRITERS) as threads:
        granted = [*threads.map(work, range(WRITERS))]
    with closing(SQLBackend(url)) as backend:
        for round in range(ROUNDS):
            ids = [f"{round}-{job}" for job in range(5)]
            assert [sorted(each[round][id] for each in granted) for id in ids] == [[1, 2, 3, 4]] * len(ids)
            assert [backend.read([id])[id].version for id in ids] == [(4, 1, 2)] * len(ids)
