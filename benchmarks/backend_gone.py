"""
The slowdown of twenty jobs while their backend is gone, compared with the same jobs on a working backend.

The backends are those of the contract tests, on servers private to this run; name some to measure only them. A server
is paused (SIGSTOP), is killed (SIGKILL) and away, cuts its connections once a second, refuses connections, and is full
or read-only in each way of the fault tests; SQLite's file is locked by another process, and has no page left. Two
processes do the same work, one by a backend that answers and one by a backend that goes away again and again, in turns
too short for the machine to change meanwhile. Two processes are never equally fast, be it for where their memory lies,
and that changes too: so a pair is several turns of each just before the backend goes, and as many while it is gone,
once from that moment on and once when the publisher has found it gone. The result is by how much the ratio of their
times grows, in the median over the pairs, and that of the CPU time of all their threads, which share the interpreter's
lock: that one is meaningful on a busy machine too. No error may be raised or logged, the publisher must
notice the outage and its end each time, and each end, which comes before the backend does, has to be stored and
seen.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

from _outages import Worker

from tests.contract.backends import BACKENDS, Row
from tests.faults.failure_modes import failure_modes
from tests.faults.suite import through
from tests.services.proxy import Proxy
from tests.services.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.services.server import Server

TIMES, TURNS, TURN_SECONDS = 6, 6, 0.15
PAIRS = 2 * TIMES
LIMIT = 0.05
CUT_SECONDS = 1.0


class Fault(NamedTuple):
    """A backend that goes away for as long as `gone` lasts, which is given the process that writes to it."""

    name: str
    urls: Callable[[], tuple[str, str]]
    """Return the addresses of a store that will be gone, and of one that will not."""

    gone: Callable[[Worker, str], AbstractContextManager[object]]
    limited: bool = False
    lasting: bool = True
    """Whether the publisher has to find the backend gone, which one that answers again at once is not."""


@contextmanager
def paused(server: Server) -> Iterator[None]:
    server.pause()
    yield
    server.resume()


@contextmanager
def killed(server: Server) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def cut(proxy: Proxy) -> Iterator[None]:
    over = Event()

    def cut_again_and_again() -> None:
        while not over.wait(CUT_SECONDS):
            assert proxy.cut_after(1_000).wait(60), "nobody writes any more"

    cutting = Thread(target=cut_again_and_again)
    cutting.start()
    yield
    over.set()
    cutting.join()


@contextmanager
def refused(proxy: Proxy) -> Iterator[None]:
    proxy.refuse()
    proxy.cut()
    yield
    proxy.accept()


@contextmanager
def full(worker: Worker) -> Iterator[None]:
    worker.ask("fill")
    yield
    worker.ask("empty")


@contextmanager
def server_faults(row: Row) -> Iterator[list[Fault]]:
    """Start two servers, one of which goes away."""
    make = next(iter(row.harmed.values()))
    sick, well = make(), make()
    with ExitStack() as running, ThreadPoolExecutor() as threads:
        for server in (sick, well):
            running.callback(server.stop)
        [*threads.map(lambda server: server.start(), (sick, well))]
        before_sick, before_well = (running.enter_context(Proxy(server.port)) for server in (sick, well))

        def urls() -> tuple[str, str]:
            return sick.fresh(), well.fresh()

        def by_proxy() -> tuple[str, str]:
            return through(before_sick, sick, sick.fresh()), through(before_well, well, well.fresh())

        yield [
            Fault("paused", urls, lambda worker, url: paused(sick)),
            Fault("killed", urls, lambda worker, url: killed(sick)),
            Fault("cut", by_proxy, lambda worker, url: cut(before_sick), lasting=False),
            Fault("refused", by_proxy, lambda worker, url: refused(before_sick)),
            *(Fault(name, urls, lambda worker, url, way=way: way()) for name, way in failure_modes(sick).items()),  # type: ignore[misc]
        ]


@contextmanager
def file_faults(row: Row) -> Iterator[list[Fault]]:
    assert row.outage is not None
    lock = row.outage
    with tempfile.TemporaryDirectory() as place:

        def urls() -> tuple[str, str]:
            sick, well = (row.url(Path(tempfile.mkdtemp(dir=place))) for _ in range(2))
            return sick, well

        yield [
            Fault("locked", urls, lambda worker, url: lock(url)),
            Fault("full", urls, lambda worker, url: full(worker), limited=True),
        ]


class Cost(NamedTuple):
    """Seconds of time and of CPU; or the lost fraction of each."""

    time: float
    cpu: float


def measured(fault: Fault) -> Cost:
    """Return the lost fraction; raise AssertionError for a wrong result."""
    sick, well = fault.urls()
    with Worker(sick, limited=fault.limited) as gone, Worker(well, limited=fault.limited) as present:
        for worker in (gone, present):
            worker.ask("open")
            worker.ask("work", 20_000)
        quickest = min(present.ask("work", 20_000)[0] for _ in range(5))
        rows = int(20_000 * TURN_SECONDS / quickest)
        grown: list[Cost] = []
        for time in range(TIMES):
            before = ratio(gone, present, rows)
            with fault.gone(gone, sick):
                grown.append(growth(before, ratio(gone, present, rows)))
                if fault.lasting:
                    wait_until(lambda: gone.ask("is_down"), "the publisher finds the backend gone")
                grown.append(growth(before, ratio(gone, present, rows)))
                if time == TIMES - 1:
                    gone.ask("end")
            wait_until(lambda: not gone.ask("is_down"), "it finds it there again")
        present.ask("end")
        problems = [*gone.ask("settle"), *present.ask("settle")]
        assert not problems, "\n".join(problems)
    return Cost(*map(statistics.median, zip(*grown, strict=True)))


def growth(before: Cost, during: Cost) -> Cost:
    return Cost(during.time / before.time - 1, during.cpu / before.cpu - 1)


def ratio(gone: Worker, present: Worker, rows: int) -> Cost:
    """Let both work in turns; return the ratios of their times."""
    costs: dict[Worker, list[Cost]] = {gone: [], present: []}
    for _ in range(TURNS):
        for worker in random.sample((gone, present), 2):
            costs[worker].append(Cost(*worker.ask("work", rows)))
    sums = {worker: Cost(*map(sum, zip(*taken, strict=True))) for worker, taken in costs.items()}
    return Cost(sums[gone].time / sums[present].time, sums[gone].cpu / sums[present].cpu)


def main(names: list[str]) -> int:
    rows = [row for row in BACKENDS if row.harmed or row.name == "sqlite"]
    unknown = set(names) - {row.name for row in rows}
    assert not unknown, f"{unknown} are none of {[row.name for row in rows]}"
    met = []
    for row in rows:
        if names and row.name not in names:
            continue
        if row.missing:
            print(f"{row.name}: not measured, {row.missing}")
            met.append(False)
            continue
        with (server_faults if row.harmed else file_faults)(row) as faults:
            for fault in faults:
                lost = measured(fault)
                met.append(lost.time <= LIMIT)
                print(
                    f"{row.name:10} {fault.name}: {lost.time:+.1%} in the median of {PAIRS} pairs, "
                    f"at most {LIMIT:+.0%} ({lost.cpu:+.1%} of CPU); each end arrived",
                    flush=True,
                )
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
