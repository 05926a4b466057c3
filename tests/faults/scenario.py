"""What a fault happens to: twenty jobs in three processes, and three who watch them."""

from __future__ import annotations

import math
import time
from contextlib import closing
from itertools import chain, cycle
from types import TracebackType
from typing import Self

from progresskit import Kit
from progresskit.errors import BackendUnavailable
from tests.services.waiting import PATIENCE

from .jobs import Ending, Jobs, kit_on
from .watchers import WATCHERS
from .worker import Worker

JOBS, HERE = 20, 2
"""How many jobs run at a time, and how many of them in this process; two workers share the others."""


class Scenario:
    """
    Twenty jobs that go on, the next one wherever one is ended, and their watchers.

    `url` is what jobs and watchers connect to, `direct` by which the store is read in the end; `ends` is how many jobs
    will be ended by `end_some`.
    """

    def __init__(self, url: str, *, ends: int, direct: str | None = None) -> None:
        self._direct = direct or url
        count = math.ceil(ends / JOBS) + 1
        plans = [[f"job-{place}.{number}" for number in range(count)] for place in range(JOBS)]
        ids = [*chain.from_iterable(plans)]
        half = HERE + (JOBS - HERE) // 2
        self.kit = kit_on(url)
        self.watchers = [watcher(url, ids) for watcher in WATCHERS]
        self._groups: list[Jobs | Worker] = [
            Jobs(self.kit, plans[:HERE]),
            Worker(url, plans[HERE:half]),
            Worker(url, plans[half:]),
        ]
        self._group_of = [self._groups[0 if place < HERE else 1 if place < half else 2] for place in range(JOBS)]
        self._left, self._turn = [[*plan] for plan in plans], cycle(range(JOBS))
        self._ended: list[str] = []

    def end_some(self, count: int = 1) -> None:
        """End so many jobs, of one place after the other, where the next one begins."""
        for place in (next(self._turn) for _ in range(count)):
            assert len(self._left[place]) > 1, "more ends than were planned"
            self._end(place)

    def _end(self, place: int) -> None:
        id = self._left[place].pop(0)
        self._group_of[place].end(id)
        self._ended.append(id)

    def settle(self, seconds: float = PATIENCE) -> None:
        """Wait until each watcher has seen the end of each job that was ended."""
        for watcher in self.watchers:
            watcher.wait_for_ends(self._ended, seconds)

    def finish(self) -> None:
        """End all jobs that are left, and hold everything against what must be."""
        for place in range(JOBS):
            while self._left[place]:
                self._end(place)
        problems = []
        try:
            self.settle()
        except TimeoutError as missed:
            problems.append(str(missed))
        endings: dict[str, Ending] = {}
        for group in self._groups:
            group.join()
            endings |= group.endings
        for watcher in self.watchers:
            watcher.compare(endings)
        problems += self._stored_otherwise(endings)
        problems += self._problems()
        assert not problems, "\n".join(problems)

    def _problems(self) -> list[str]:
        return [problem for one in (*self._groups, *self.watchers) for problem in one.problems]

    def _stored_otherwise(self, endings: dict[str, Ending]) -> list[str]:
        """Wait until a fresh kit reads each job as it ended; return those that it never does."""
        missing = [f"{id}: did not end" for id in self._ended if id not in endings]
        deadline = time.monotonic() + PATIENCE
        with closing(kit_on(self._direct)) as kit:
            while wrong := _differences(kit, endings):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        return missing + wrong

    def close(self) -> None:
        """End all that is still there."""
        for group in self._groups:
            group.close()
        for watcher in self.watchers:
            watcher.close()
        self.kit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _differences(kit: Kit, endings: dict[str, Ending]) -> list[str]:
    try:
        stored = kit.get_many(endings)
    except BackendUnavailable as error:
        return [f"cannot be read: {error}"]
    return [
        f"{id}: ended as {ending}, stored is {stored[id].to_json() if id in stored else 'nothing'}"
        for id, ending in endings.items()
        if id not in stored or (stored[id].state, stored[id].current) != ending
    ]
