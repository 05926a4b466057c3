"""
What a round takes up within an interval, without the thread that does the rounds being woken for each.

To wake a thread costs a task that does nothing, or the call that sends one, more than all else the kit does for it. So
the thread is woken by the first of them after a quiet time only, and looks for others as long as there are some.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .job import Job
    from .progress import Write


class _Begun(NamedTuple):
    """A job that has just begun, and when it is taken up."""

    due: float
    job: ref[Job]


class Deferred:
    """
    Jobs that have just begun, most of which end before they are taken up; and external updates.

    Any thread may add to it; only the one that does the rounds takes out. `wake` has it do a round soon.
    """

    def __init__(self, interval: float, shortest_wait: float, wake: Callable[[], None]) -> None:
        self._interval, self._shortest_wait, self._wake = interval, shortest_wait, wake
        self._jobs: deque[_Begun] = deque()
        self._updates: deque[tuple[Callable[[], Write], float]] = deque()
        self._next_round = inf  # when the thread does a round by itself; minus infinity while it is awake
        self._has_taken = False

    def __bool__(self) -> bool:
        return bool(self._jobs or self._updates)

    @property
    def has_updates(self) -> bool:
        """True while an external update waits."""
        return bool(self._updates)

    @property
    def has_jobs(self) -> bool:
        """True while one of the jobs is live."""
        return any(True for _ in self.jobs())

    def jobs(self) -> Iterator[Job]:
        """Give the jobs that are live."""
        for begun in self._jobs.copy():
            job = begun.job()
            if job is not None and not job.has_ended:
                yield job

    # In any thread.

    def add_job(self, job: Job) -> None:
        """Take up a job one interval after it began, unless it has ended by then."""
        self._jobs.append(_Begun(job.began + self._interval, ref(job)))
        self._expect_round(job.began)

    def add_update(self, build: Callable[[], Write], now: float, *, at_once: bool) -> None:
        """Take up an external update that is made now; its write is built only then, many in a row take less time."""
        self._updates.append((build, now))
        self._expect_round(now, at_once=at_once)

    def drop_jobs(self) -> None:
        """Take up none of the jobs."""
        self._jobs.clear()

    def _expect_round(self, now: float, *, at_once: bool = False) -> None:
        # `schedule` looks for more after it has set the time of the next round, so that one of the two sees the other.
        if at_once or self._next_round > now + self._interval:
            self.begin_round()  # others need not wake it too
            self._wake()

    def expect_round(self, at: float) -> None:
        """Note that a thread will be started, and do a round then: it need not be woken before."""
        self._next_round = min(self._next_round, at)

    # In the thread that does the rounds.

    def begin_round(self) -> None:
        """Note that the thread is awake: until `schedule` it need not be woken."""
        self._next_round = -inf

    def take_updates(self) -> Iterator[tuple[Write, float]]:
        """Take out the external updates, each with when it was made."""
        while self._updates:
            self._has_taken = True
            build, made = self._updates.popleft()
            yield build(), made

    def take_jobs(self, now: float, *, everything: bool = False) -> Iterator[Job]:
        """Take out the jobs that have ended, and those that are due; give the latter. With `everything` all are due."""
        for _ in range(len(self._jobs)):
            self._has_taken = True
            begun = self._jobs.popleft()
            job = begun.job()
            if job is None or job.has_ended:
                continue
            if everything or begun.due <= now:
                yield job
            else:
                self._jobs.append(begun)

    def schedule(self, now: float, wait: float | None) -> float | None:
        """Return how long to wait for the next round, at most `wait`; None for ever."""
        self._next_round = inf if wait is None else now + wait
        if not (self._has_taken or self):
            return wait
        self._has_taken = False
        due = min((begun.due for begun in self._jobs.copy()), default=inf)
        wait = min(inf if wait is None else wait, self._interval, max(due - now, self._shortest_wait))
        self._next_round = now + wait
        return wait
