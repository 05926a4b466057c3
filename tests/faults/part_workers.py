"""Workers of parts, each a process that may be killed at any moment, and the queue that delivers parts again then."""

from __future__ import annotations

import logging
import multiprocessing
import random
import time
import traceback
from collections import deque
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from threading import Lock

from progresskit import Kit
from progresskit.observer import ProgressObserver
from tests.services.waiting import PATIENCE

from .jobs import ErrorLog, Meant, kit_on

ROOT = "album"

SIZE = 200

FAILING = frozenset({7, 108})
"""The parts that fail, each time that they are worked on: one without a record, and one with a record of its own."""

STEPS = 4

PACE_SECONDS = 0.04
"""Between two steps: a part takes longer than an interval, so that one whose worker is killed has counted before."""

THREADS = 2
"""How many parts a worker has in hand."""

BEHIND = 3
"""How many parts later one is delivered for the second time: the first worker has begun then, and still reports."""


def weight_of(number: int) -> int:
    """Return the weight of a part."""
    return 1 + number % 3


TOTAL_WEIGHT = sum(map(weight_of, range(SIZE)))

WHOLE = 10_000

EXACT = (TOTAL_WEIGHT * WHOLE - sum(weight_of(number) * WHOLE // 2 for number in FAILING)) // TOTAL_WEIGHT / 100
"""The percent of the job in the end: each part is whole, but for those that fail in their middle."""


def open_part(kit: Kit, number: int) -> ProgressObserver:
    """Open a part: half of them by name, the others as jobs with records of their own."""
    if number % 2:
        return kit.part(ROOT, f"chunk-{number}", total=STEPS, weight=weight_of(number))
    return kit.observe(f"resize-{number}", part_of=ROOT, total=STEPS, weight=weight_of(number))


def _work_on(kit: Kit, number: int) -> None:
    try:
        with open_part(kit, number) as part:
            for step in range(STEPS):
                if number in FAILING and step == STEPS // 2:
                    raise Meant("it has to")
                part.advance()
                time.sleep(PACE_SECONDS)
    except Meant:
        pass


def work(url: str, pipe: Connection) -> None:
    """Work on the parts that a pipe brings; acknowledge each once its end is stored."""
    problems: list[str] = []
    logging.getLogger("progresskit").addHandler(ErrorLog(problems))
    kit, sending = kit_on(url), Lock()

    def handle(number: int) -> None:
        try:
            _work_on(kit, number)
            kit.flush(PATIENCE)
        except BaseException:
            problems.append(f"raised into part {number}:\n{traceback.format_exc()}")
        with sending:
            pipe.send((number, problems))
            problems.clear()

    with ThreadPoolExecutor(THREADS) as threads:
        while True:  # until it is killed
            threads.submit(handle, pipe.recv())


class _Worker:
    """A worker process, and the parts that it was given and has not acknowledged."""

    def __init__(self, url: str) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = _forking.Process(target=work, args=(url, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.unacknowledged: list[int] = []

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    [  # once, not in each worker
        *(__name__, "progresskit_redis.address", "progresskit_sql"),
        *(f"progresskit_sql.{dialect}" for dialect in ("sqlite", "postgresql", "mysql")),
    ]
)


class Queue:
    """
    Delivers each part at least once, as queues with late acknowledgement do.

    `twice` are parts that are delivered to two workers at once.
    """

    def __init__(self, url: str, workers: int, twice: Collection[int]) -> None:
        self._url = url
        self._waiting = deque(range(SIZE))
        for number in twice:
            self._waiting.insert(self._waiting.index(number) + BEHIND, number)
        self._workers = [_Worker(url) for _ in range(workers)]
        self.acknowledged = set[int]()
        self.deliveries = self.killed = 0
        self.problems: list[str] = []

    @property
    def in_hand(self) -> int:
        """How many deliveries were not acknowledged."""
        return sum(len(worker.unacknowledged) for worker in self._workers)

    @property
    def is_empty(self) -> bool:
        """True once each delivery was acknowledged."""
        return not self._waiting and not self.in_hand

    def run_until(self, acknowledged: int) -> None:
        """Deliver parts until so many different ones were acknowledged, or all deliveries."""
        deadline = time.monotonic() + PATIENCE
        while len(self.acknowledged) < acknowledged or (acknowledged >= SIZE and not self.is_empty):
            self._deliver()
            pipes = {worker.pipe: worker for worker in self._workers}
            for pipe in wait([*pipes], timeout=0.5):
                assert isinstance(pipe, Connection)
                self._acknowledge(pipes[pipe])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.acknowledged)} parts were acknowledged, not {acknowledged}")

    def _deliver(self) -> None:
        for _ in range(THREADS):
            for worker in self._workers:
                if self._waiting and len(worker.unacknowledged) < THREADS:
                    worker.unacknowledged.append(self._waiting.popleft())
                    worker.pipe.send(worker.unacknowledged[-1])
                    self.deliveries += 1

    def _acknowledge(self, worker: _Worker) -> None:
        try:
            number, problems = worker.pipe.recv()
        except (EOFError, OSError):
            self.problems.append("a worker died by itself")
            self._replace(worker)
            return
        worker.unacknowledged.remove(number)
        self.acknowledged.add(number)
        self.problems += problems

    def kill_one(self) -> None:
        """Kill a worker that has a part in hand, at any moment of it; deliver its parts to others."""
        self._deliver()
        time.sleep(random.uniform(0, STEPS * PACE_SECONDS))
        busy = [worker for worker in self._workers if worker.unacknowledged]
        assert busy, "no worker has a part in hand"
        self._replace(random.choice(busy))
        self.killed += 1

    def _replace(self, worker: _Worker) -> None:
        worker.kill()
        self._waiting.extendleft(reversed(worker.unacknowledged))
        self._workers[self._workers.index(worker)] = _Worker(self._url)

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.kill()
