"""
Random histories of ids that are used again while connections to the store fail: is the final record the right one?

Several kits write to one store, each over a connection of its own that can be cut: then a call is refused, or it has an
effect and its answer is lost. Records live for a few seconds only, so that they expire under jobs that are cut off. In
the end, with all connections up, the stored record must be of the run that began last, or of a later external update.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.abc import Backend
from progresskit.errors import BackendUnavailable
from progresskit.integrations import Integration
from progresskit.kit import Kit
from progresskit.observer import job_of
from progresskit.progress import FINAL_STATES, State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hypothesis.strategies import SearchStrategy

    from progresskit.config import Settings
    from progresskit.observer import ProgressObserver
    from progresskit.progress import Progress, Write

    from .doubles import FakeClock

EXAMPLES = 40
"""How many random histories are run."""

KITS = range(3)
JOBS = ("a", "b")
TTL, LEASE, INTERVAL = 20.0, 15.0, 0.1
ROUND_SECONDS = 0.3
SETTLING = 30
"""Rounds after which all is stored: the publisher waits two seconds at most before it tries again."""


class Open(NamedTuple):
    """Begin a job."""

    kit: int
    job: str


class Count(NamedTuple):
    """Make progress in the job that was begun last there."""

    kit: int
    job: str


class End(NamedTuple):
    """End the job that was begun last there."""

    kit: int
    job: str
    state: State


class UpdateExternally(NamedTuple):
    """Report from outside that a job waits, or its final state."""

    kit: int
    job: str
    state: State


class Cut(NamedTuple):
    """Cut the connection of a kit; with `answers`, only the answers are lost."""

    kit: int
    answers: bool


class Mend(NamedTuple):
    """Let calls through again."""

    kit: int


class Pass(NamedTuple):
    """Let time pass."""

    seconds: float


Step = Open | Count | End | UpdateExternally | Cut | Mend | Pass


ANNOUNCED_AGAIN: list[Step] = [
    Open(2, "a"),
    Open(2, "a"),
    Cut(2, False),
    UpdateExternally(2, "a", State.PENDING),
    Pass(24.0),
]
"""A record expires, and an old announcement is stored next: two runs continue it, the older one first."""

ENDED_BEFORE_ITS_ANNOUNCEMENT: list[Step] = [
    Cut(1, False),
    UpdateExternally(1, "a", State.FAILED),
    Open(1, "a"),
    UpdateExternally(0, "a", State.PENDING),
]
"""An end and the run after it are stored after an announcement that was made later than both."""


def histories() -> SearchStrategy[list[Step]]:
    """Give lists of steps."""
    from hypothesis import strategies as st

    kits, jobs, finals = st.sampled_from(KITS), st.sampled_from(JOBS), st.sampled_from(sorted(FINAL_STATES))
    opens, ends = st.builds(Open, kits, jobs), st.builds(End, kits, jobs, finals)
    cuts = st.builds(Cut, kits, st.booleans())
    steps: SearchStrategy[Any] = st.one_of(
        opens,
        opens,
        ends,
        ends,
        st.builds(Count, kits, jobs),
        st.builds(UpdateExternally, kits, jobs, st.sampled_from([State.PENDING, State.FAILED, State.CANCELLED])),
        cuts,
        cuts,
        st.builds(Mend, kits),
        st.builds(Mend, kits),
        st.builds(Pass, st.sampled_from([1.0, 6.0, 24.0])),
    )
    return st.builds(list.__add__, st.lists(steps, max_size=16), st.lists(steps, max_size=16))


class Line(Backend):
    """The way of one kit to the store."""

    def __init__(self, store: Backend) -> None:
        self._store = store
        self.cut = self.answers_only = False

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> Line:
        """Refuse: there is no such URL."""
        raise NotImplementedError

    def write(self, batch: Sequence[Write]) -> Mapping[str, int]:
        """Write, and answer, as far as the line allows it."""
        if self.cut and not self.answers_only:
            raise BackendUnavailable("the line is cut")
        runs = self._store.write(batch)
        if self.cut:
            raise BackendUnavailable("the answer is lost")
        return runs

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Read."""
        return self._store.read(ids)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Ask the jobs to stop."""
        return self._store.request_cancel(ids)

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return none: these histories have no requests to cancel."""
        return set()

    def forget(self, ids: Collection[str]) -> set[str]:
        """Forget the jobs."""
        return self._store.forget(ids)

    def close(self) -> None:
        """Leave the store open: the test owns it."""

    def after_fork_in_child(self) -> None:
        """Return without forgetting a job."""


class _Run(NamedTuple):
    """A job that was started, and its end, which was stored at `stored` or a little later."""

    name: str
    kit: int
    began: float
    observer: ProgressObserver
    state: State = State.RUNNING
    ended: bool = False
    stored: float | None = None


class _ExternalUpdate(NamedTuple):
    job: str
    state: State
    at: float


class Play:
    """One history, in a store that others use under other ids."""

    def __init__(self, store: Backend, clock: FakeClock, prefix: str) -> None:
        self._store, self._clock, self._prefix = store, clock, prefix
        self._lines = [Line(store) for _ in KITS]
        settings: dict[str, Any] = {"ttl": TTL, "lease": LEASE, "interval": INTERVAL}
        self._kits = [Kit(backend=line, clock=clock, threaded=False, **settings) for line in self._lines]
        self._runs: dict[str, list[_Run]] = {job: [] for job in JOBS}
        self._external: list[_ExternalUpdate] = []

    def run(self, history: list[Step]) -> None:
        """Take all steps, restore all connections, and check the stored records."""
        for step in history:
            self._do(step)
            self._round()
        for kit in KITS:
            self._do(Mend(kit))
        for _ in range(SETTLING):
            self._round()
        for job in JOBS:
            problem = self._problem(job)
            assert problem is None, f"{job}: {problem}"
        for run in (run for runs in self._runs.values() for run in runs):
            job_of(run.observer).detach()

    def _do(self, step: Step) -> None:
        match step:
            case Open(kit, job):
                name = f"run {len(self._runs[job]) + 1}"
                observer = self._kits[kit].observe(self._prefix + job, description=name)
                self._runs[job].append(_Run(name, kit, self._clock(), observer))
            case Count(kit, job):
                if (place := self._live(kit, job)) is not None:
                    self._runs[job][place].observer.advance()
            case End(kit, job, state):
                if (place := self._live(kit, job)) is not None:
                    run = self._runs[job][place]
                    job_of(run.observer).end(state)
                    stored = None if self._lines[kit].cut else self._clock()
                    self._runs[job][place] = run._replace(state=state, ended=True, stored=stored)
            case UpdateExternally(kit, job, state):
                integration = Integration(self._kits[kit])
                if state is State.PENDING:
                    integration.enqueued(self._prefix + job)
                else:
                    integration.end_externally(self._prefix + job, state)
                self._external.append(_ExternalUpdate(job, state, self._clock()))
            case Cut(kit, answers):
                self._lines[kit].cut, self._lines[kit].answers_only = True, answers
            case Mend(kit):
                self._lines[kit].cut = False
                for job, runs in self._runs.items():
                    self._runs[job] = [self._reached(run) if run.kit == kit else run for run in runs]
            case Pass(seconds):
                until = self._clock() + seconds
                while self._clock() < until:
                    self._round()
                    self._clock.advance(2.0)

    def _reached(self, run: _Run) -> _Run:
        return run if run.stored is not None or not run.ended else run._replace(stored=self._clock())

    def _live(self, kit: int, job: str) -> int | None:
        runs = self._runs[job]
        return next((n for n in reversed(range(len(runs))) if runs[n].kit == kit and not runs[n].ended), None)

    def _round(self) -> None:
        for kit in self._kits:
            kit.publisher.step()
        self._clock.advance(ROUND_SECONDS)

    def _problem(self, job: str) -> str | None:
        """Return the problem of the stored record, or None."""
        id, now = self._prefix + job, self._clock()
        record = self._store.read([id]).get(id)
        newest = self._runs[job][-1] if self._runs[job] else None
        since = 0.0 if newest is None else newest.began
        external = [update for update in self._external if update.job == job and update.at >= since]
        is_external = record is not None and any(update.state is record.state for update in external)
        if newest is None:
            return None if record is None or is_external else "not as the external update says"
        ends = [update for update in external if update.state in FINAL_STATES]
        if record is not None and record.description == newest.name:
            expected = {newest.state, *(update.state for update in ends)}
            return None if record.state in expected else f"{newest.name} is shown as {record.state}"
        over = [update.at for update in ends]
        if newest.stored is not None:
            over.append(newest.stored)
        if over and now >= min(over) + TTL:
            return None  # its record may have expired, and the next start owns the id
        shown = "nothing" if record is None else f"{record.description} ({record.state})"
        if record is not None and record.description is None and is_external:
            return None if record.state in FINAL_STATES or newest.ended else f"{newest.name} lives: {shown}"
        return f"{newest.name} ({newest.state}) was begun last, and what is shown is {shown}"


class ReuseContract:
    """The record of an id that is used again, after any failures in between."""

    def test_whatever_fails_the_run_that_began_last_is_shown(self, backend: Backend, clock: FakeClock) -> None:
        check(lambda: (backend, clock), EXAMPLES)


def check(make: Callable[[], tuple[Backend, FakeClock]], examples: int) -> None:
    """Play the given number of histories, each on a new backend from `make`."""
    from hypothesis import HealthCheck, example, given, settings

    numbers = iter(range(sys.maxsize))

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(histories())
    @example(ANNOUNCED_AGAIN)
    @example(ENDED_BEFORE_ITS_ANNOUNCEMENT)
    def run(history: list[Step]) -> None:
        store, clock = make()
        Play(store, clock, f"r{next(numbers)}-").run(history)

    run()
