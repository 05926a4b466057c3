"""The rows of parts: they go with the run of their job, and processes that report at once neither lose one nor wait."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest

import progresskit_sql.backend
from progresskit.parts import Declaration, Parts
from progresskit.progress import State
from progresskit.testing import FakeClock, start
from progresskit.testing.helpers import read
from progresskit.testing.parts import report, send
from progresskit.testing.writes import declare
from progresskit_sql import SQLBackend
from progresskit_sql.rows import digest_of

WRITERS, PARENTS, NAMES = 4, 3, 12

Ask = Callable[[str], list[tuple[Any, ...]]]


def rows_of_parts(ask: Ask) -> int:
    return int(ask("SELECT count(*) FROM progresskit_parts")[0][0])


def sweep(backend: SQLBackend) -> None:
    backend._sweep_at = 0
    backend.write([start("sweeper")])


def test_the_rows_of_parts_go_with_their_run(backend: SQLBackend, ask: Ask, clock: FakeClock) -> None:
    ends: list[Callable[[], object]] = [
        lambda: clock.advance(101),
        lambda: backend.forget(["job"]),
        lambda: backend.write([start("job", token="next")]),
        lambda: send(backend, [start("job", token="last", declaration=Declaration("last", 2), attempt=2)]),
    ]
    for end in ends:
        send(backend, [start("job", ttl=100)], [report("job", name, State.SUCCEEDED, ttl=100) for name in "abc"])
        backend.write([start("job", token="worker", state=State.FAILED, attempt=2, ttl=100)])
        assert rows_of_parts(ask) == 3
        end()
        sweep(backend)
        assert rows_of_parts(ask) == 0
        assert not ask("SELECT id FROM progresskit_jobs WHERE id LIKE '.%%'")
        clock.advance(3_601)


def test_rows_of_many_parts_go_a_few_at_a_time(
    backend: SQLBackend, ask: Ask, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progresskit_sql.backend, "SWEEP_PARTS", 4)
    send(backend, [declare("album", size=20)], [report("album", f"{number}", State.SUCCEEDED) for number in range(10)])
    backend.request_cancel(["album"])
    assert backend.forget(["album"]) == {"album"}
    send(backend, [declare("album", size=2)], [report("album", "0", State.SUCCEEDED)])
    backend._sweep_at = clock()
    for left in (7, 3, 1, 1):
        backend.write([start("other")])
        assert rows_of_parts(ask) == left
    assert read(backend, "album").parts == Parts(2, 1, 0, 0, 0)


def test_parts_that_stayed_behind_when_jobs_were_deleted_count_for_no_run(backend: SQLBackend, ask: Ask) -> None:
    send(backend, [declare("album", size=2, token="declared")], [report("album", "a", State.SUCCEEDED)])
    ask("DELETE FROM progresskit_jobs")
    send(backend, [declare("album", size=2, token="declared", late=True)], [report("album", "a", hundredths=100)])
    assert (read(backend, "album").parts, read(backend, "album").percent) == (Parts(2, 0, 0, 0, 1), 0.5)


def test_parts_of_the_same_jobs_that_many_report_at_once_are_all_counted(url: str) -> None:
    parents = [f"album-{number}" for number in range(PARENTS)]
    with closing(SQLBackend(url)) as backend:
        size = WRITERS * NAMES + 1
        send(backend, [declare(parent, size=size) for parent in parents[1:]])  # the first one has no record yet
    begin = Barrier(WRITERS)

    def work(number: int) -> None:
        order = parents if number % 2 else parents[::-1]
        with closing(SQLBackend(url)) as backend:
            begin.wait()
            for name in [*(f"{number}-{name}" for name in range(NAMES)), "delivered twice"]:
                for state, hundredths in ((State.RUNNING, 100), (State.RUNNING, 200), (State.SUCCEEDED, 300)):
                    reports = [report(parent, name, state, hundredths, token=f"{number}") for parent in order]
                    send(backend, [start(f"{name}-{number}")], reports)

    with ThreadPoolExecutor(WRITERS) as threads:
        [*threads.map(work, range(WRITERS))]
    with closing(SQLBackend(url)) as backend:
        send(backend, [declare(parents[0], size=size)])
        for parent in parents:
            progress = read(backend, parent)
            assert (progress.state, progress.parts) == (State.SUCCEEDED, Parts(size, size, 0, 0, 0))


@pytest.mark.parametrize("name", ["chunk-0000{}", "{}", "album/12{}.jpg", "\ud800 {}"])
def test_the_rows_of_parts_that_are_numbered_lie_side_by_side(name: str) -> None:
    digests = {digest_of(name.format(f"{number:02}")) for number in range(100)}
    assert (len(digests), len({digest >> 48 for digest in digests})) == (100, 1)
