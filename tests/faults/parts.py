"""
A job of two hundred parts, whose workers are killed while its server fails in each way, counts each part once.

A module for each server takes its part, so that they can be run beside each other.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing, suppress
from threading import Event, Thread

from progresskit import Progress, State
from progresskit.errors import BackendUnavailable
from progresskit.parts import Parts
from tests.services.proxy import Proxy
from tests.services.server import Server
from tests.services.waiting import PATIENCE, wait_until

from .jobs import kit_on
from .part_workers import EXACT, FAILING, ROOT, SIZE, TOTAL_WEIGHT, Queue
from .suite import through

WORKERS = 4

KILLS = 20
"""How many workers are killed, evenly over the run: some while the server fails."""

FAULTS = {3: "cut", 6: "kill", 9: "pause", 12: "cut", 15: "kill", 18: "cut"}
"""How the server fails, by the number of the worker that is killed then."""

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


class Scenario:
    """The job, its workers, its readers, and what happens to the server."""

    def __init__(self, server: Server, proxy: Proxy, direct: str, forgets: bool) -> None:
        self._server, self._proxy, self._forgets = server, proxy, forgets
        url = through(proxy, server, direct)
        self._sender = kit_on(direct)
        self._declare(SIZE)
        self.readers = Readers(url, direct)
        self.queue = Queue(url, WORKERS, TWICE)
        self.counts = dict.fromkeys(FAULTS.values(), 0)
        self._certain = SIZE

    def _declare(self, size: int) -> None:
        self._sender.group(ROOT, size=size, weight=TOTAL_WEIGHT, unit="pictures")
        self._sender.flush(PATIENCE)

    def run(self) -> None:
        """Have all parts done while workers are killed and the server fails."""
        for number in range(1, KILLS + 1):
            self.queue.run_until(SIZE * number // (KILLS + 2))
            fault = FAULTS.get(number, "")
            self.counts[fault] = self.counts.get(fault, 0) + 1
            getattr(self, f"_{fault}", self.queue.kill_one)()
        self.queue.run_until(SIZE)

    def _cut(self) -> None:
        """Cut the connections in the middle of a write."""
        cut = self._proxy.cut_after(random.randint(1, 2_000))
        self.queue.kill_one()
        assert cut.wait(PATIENCE), "no worker writes any more"

    def _kill(self) -> None:
        """Kill the server, and a worker that cannot store its reports; the job is declared again if it is lost."""
        self._server.kill()
        self.queue.kill_one()
        self._server.start()
        if self._forgets:
            self._declare(SIZE)
            self._certain = SIZE - len(self.queue.acknowledged) - self.queue.in_hand

    def _pause(self) -> None:
        """Let the server answer no call, and kill a worker meanwhile."""
        self._server.pause()
        try:
            self.queue.kill_one()
            time.sleep(PAUSE_SECONDS)
        finally:
            self._server.resume()

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
            assert (stored.state, stored.percent, stored.parts) == exact
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
    forgets = False

    def test_each_part_counts_once(self, server: Server, record_property: Callable[[str, object], None]) -> None:
        direct = server.fresh()
        with Proxy(server.port) as proxy, closing(Scenario(server, proxy, direct, self.forgets)) as scenario:
            scenario.run()
            ended = time.monotonic()
            if self.forgets:
                scenario.settle()
            scenario.compare()
            seconds = time.monotonic() - ended
            queue, counts = scenario.queue, scenario.counts
            record_property(
                "parts",
                f"{self.name}: {SIZE} parts, {queue.deliveries} deliveries; killed: {queue.killed} workers, "
                f"the server {counts['kill']} times; {counts['cut']} cuts, {counts['pause']} pause; "
                f"{scenario.readers.watched.changes} states watched, {scenario.readers.stored.changes} read; "
                f"the end was seen after {seconds:.2f} s",
            )
