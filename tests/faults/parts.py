"""
A job of two hundred parts, whose workers are killed while its server fails in each way, counts each part once.

A module for each server takes its part, so that they can be run beside each other.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from threading import Event, Thread
from types import MappingProxyType
from typing import NamedTuple

import pytest

from progresskit import Progress, State
from progresskit.errors import BackendUnavailable
from progresskit.parts import Parts
from tests.services.proxy import Proxy
from tests.services.server import Server
from tests.services.waiting import PATIENCE, wait_until

from .jobs import kit_on
from .part_workers import EXACT, FAILING, ROOT, SIZE, TOTAL_WEIGHT, Queue
from .suite import through

Failure = Callable[[], AbstractContextManager[None]]

WORKERS = 4

KILLS = 20
"""How many workers are killed, evenly over the run: some while the server fails."""

PLAN = MappingProxyType({3: "cut", 6: "killed", 9: "paused", 12: "cut", 15: "killed", 18: "cut"})
"""How the store fails, by the number of the worker that is killed meanwhile."""

TWICE = range(5, SIZE, 20)
"""The parts that are delivered to two workers at once."""

PAUSE_SECONDS = 6.0
"""Longer than any call to a server that does not answer takes."""

READ_SECONDS = 0.01


class Sight:
    """What one reader sees of the job, compared with what it saw before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last: Progress | None = None
        self.changes = 0
        self.problems: list[str] = []

    def see(self, progress: Progress) -> None:
        """Compare a record with the one before, which is of another life if the server has lost its data."""
        before, self.last = self.last, progress
        self.changes += before is None or before.cursor != progress.cursor
        if (progress.percent or 0) > 100 or (progress.percent == 100) is not (progress.state is State.SUCCEEDED):
            self._wrong("shows the percent of another state", before, progress)
        if before is None or before.life != progress.life:
            return
        if before.done and before.cursor != progress.cursor:
            self._wrong("changed after its end", before, progress)
        if before.total == progress.total and (before.percent or 0) > (progress.percent or 0):
            self._wrong("decreased", before, progress)
        if before.current > progress.current:
            self._wrong("lost a part", before, progress)

    def _wrong(self, what: str, before: Progress | None, progress: Progress) -> None:
        self.problems.append(f"{self.name}: {what}: {before and before.to_json()} then {progress.to_json()}")


class Readers:
    """One that watches the job as a page does, by `url`, and one that reads the store all the time, by `direct`."""

    def __init__(self, url: str, direct: str) -> None:
        self.watched, self.stored = Sight("watch"), Sight("get")
        self._kit, self.direct = kit_on(url), kit_on(direct)
        self._stop = Event()
        self._threads = [Thread(target=self._watch), Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    def _watch(self) -> None:
        for progress in self._kit.watch(ROOT):
            self.watched.see(progress)

    def _read(self) -> None:
        while not self._stop.wait(READ_SECONDS):
            with suppress(BackendUnavailable):
                if (progress := self.direct.get(ROOT)) is not None:
                    self.stored.see(progress)

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._kit.close()
        for thread in self._threads:
            thread.join()
        self.direct.close()


class Store(NamedTuple):
    """
    A store that may fail, in each way for the time of a context.

    `url` is that by which workers and viewers use it, `direct` that by which it is read in the end.
    """

    url: str
    direct: str
    failures: Mapping[str, Failure]


def store_on(server: Server, proxy: Proxy) -> Store:
    """Return a store on a server, by way of a proxy."""
    direct = server.fresh()
    failures = {"cut": lambda: cut(proxy), "killed": lambda: killed(server), "paused": lambda: paused(server)}
    return Store(through(proxy, server, direct), direct, failures)


@contextmanager
def cut(proxy: Proxy) -> Iterator[None]:
    """Cut the connections in the middle of a write."""
    done = proxy.cut_after(random.randint(1, 2_000))
    yield
    assert done.wait(PATIENCE), "no worker writes any more"


@contextmanager
def killed(server: Server) -> Iterator[None]:
    """Kill the server, and start it again."""
    server.kill()
    yield
    server.start()


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Have the server answer no call."""
    server.pause()
    try:
        yield
        time.sleep(PAUSE_SECONDS)
    finally:
        server.resume()


class Scenario:
    """The job, its workers, its readers, and what happens to the store."""

    def __init__(self, store: Store, plan: Mapping[int, str], forgets: bool) -> None:
        self._failures, self._plan, self._forgets = store.failures, plan, forgets
        self._sender = kit_on(store.direct)
        self._declare(SIZE)
        self.readers = Readers(store.url, store.direct)
        self.queue = Queue(store.url, WORKERS, TWICE)
        self._certain = SIZE

    def _declare(self, size: int) -> None:
        self._sender.group(ROOT, size=size, weight=TOTAL_WEIGHT, unit="pictures")
        self._sender.flush(PATIENCE)

    def run(self) -> None:
        """Have all parts done while workers are killed, some of them while the store fails."""
        for number in range(1, KILLS + 1):
            self.queue.run_until(SIZE * number // (KILLS + 2))
            failure = self._plan.get(number, "")
            with self._failures.get(failure, nullcontext)():
                self.queue.kill_one()
                if failure == "killed":
                    # A database may lose its last moment, of which all but ends is sent again: viewers do not see that.
                    self.readers.stored.last = None
            if self._forgets and failure == "killed":
                self._declare(SIZE)
                self._certain = SIZE - len(self.queue.acknowledged) - self.queue.in_hand
        self.queue.run_until(SIZE)

    def settle(self) -> None:
        """Have the job end with the parts that a server which lost its data knows; those that began since are there."""
        parts = self._stored().parts
        assert parts is not None
        counted = parts.succeeded + parts.failed
        assert self._certain <= counted <= SIZE, parts
        assert (parts.cancelled, parts.running) == (0, 0)
        self._declare(counted)

    def _stored(self) -> Progress:
        progress = self.readers.direct.get(ROOT)
        assert progress is not None
        return progress

    def compare(self) -> None:
        """Compare the end of the job, as it is stored and as it was watched, with what the workers did."""
        stored = self._stored()
        if not self._forgets:
            failed = len(FAILING)
            exact = (State.FAILED, EXACT, Parts(SIZE, SIZE - failed, failed, 0, 0))
            assert (stored.state, stored.percent, stored.parts) == exact, stored.to_json()
        assert stored.done
        watched = self.readers.watched
        wait_until(lambda: watched.last is not None and watched.last.cursor == stored.cursor, "the end was watched")
        problems = self.queue.problems + watched.problems + self.readers.stored.problems
        assert not problems, "\n".join(problems)

    def close(self) -> None:
        """End all that is still there."""
        self.queue.close()
        self.readers.close()
        self._sender.close()


class PartsUnderFaults:
    """Workers and the server of that name in the table of backends fail; the server keeps its data, or `forgets`."""

    name: str
    plan: Mapping[int, str] = PLAN
    forgets = False

    @pytest.fixture
    def store(self, server: Server) -> Iterator[Store]:
        with Proxy(server.port) as proxy:
            yield store_on(server, proxy)

    def test_each_part_counts_once(self, store: Store, record_property: Callable[[str, object], None]) -> None:
        with closing(Scenario(store, self.plan, self.forgets)) as scenario:
            scenario.run()
            ended = time.monotonic()
            if self.forgets:
                scenario.settle()
            scenario.compare()
            seconds = time.monotonic() - ended
        queue, readers, times = scenario.queue, scenario.readers, Counter(self.plan.values())
        record_property(
            "parts",
            f"{self.name}: {SIZE} parts, {queue.deliveries} deliveries; {queue.killed} workers killed; the store "
            f"{', '.join(f'{how} {count} times' for how, count in times.items())}; {readers.watched.changes} states "
            f"watched, {readers.stored.changes} read; the end was seen after {seconds:.2f} s",
        )
