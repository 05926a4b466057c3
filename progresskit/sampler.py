"""
Selects the live jobs that have something to be written: a change, or a heartbeat.

It does no I/O and reads no clock: each call is given the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from logging import Logger

    from .job import Job
    from .progress import Write

SPACING = 0.9
"""The share of an interval between two samples of a busy job: rounds may be a little early."""


class DueWrite(NamedTuple):
    """A record to be written, and when the run of its job began, by the publisher's clock."""

    write: Write
    since: float


class _LiveJob:
    """A job that is sampled, and when."""

    __slots__ = ("due", "is_new", "job", "logged", "sent")

    def __init__(self, job: Job, due: float) -> None:
        self.job = ref(job)
        self.due = self.sent = due  # not before, so that a wake-up makes no extra record of a busy job
        self.is_new = True
        self.logged = False


class Sampler:
    """
    The live jobs of this process, by their tokens; `interval` and `heartbeat` are seconds.

    Jobs are registered in any thread; all else is for the thread that does the rounds.
    """

    def __init__(self, interval: float, heartbeat: float) -> None:
        self._interval, self._heartbeat = interval, heartbeat
        self._live: dict[str, _LiveJob] = {}
        self._next_round = 0.0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, token: str | None) -> bool:
        return token in self._live

    @property
    def due(self) -> float | None:
        """The time of the next regular round, or of the first sample of a new job; None while no job is live."""
        lives = list(self._live.values())
        return min(live.due if live.is_new else max(live.due, self._next_round) for live in lives) if lives else None

    def jobs(self) -> list[Job]:
        """Return the live jobs that have not been dropped."""
        return [job for live in list(self._live.values()) if (job := live.job()) is not None]

    # Which jobs are live.

    def register(self, job: Job, due: float) -> None:
        """Sample a job from that time on."""
        self._live[job.token] = _LiveJob(job, due)

    def remove(self, token: str) -> None:
        """Sample a job no longer."""
        self._live.pop(token, None)

    def remove_dropped(self) -> bool:
        """Remove the jobs that no code refers to; return whether there were any."""
        dropped = [token for token, live in list(self._live.items()) if live.job() is None]
        for token in dropped:
            del self._live[token]
        return bool(dropped)

    def clear(self) -> None:
        """Sample no job any longer."""
        self._live.clear()

    # One round.

    def take_new(self, now: float, *, all_jobs: bool = False) -> Iterator[tuple[Job, bool]]:
        """Yield each job that is to be sampled first now, and whether it has waited; with `all_jobs`, each new one."""
        for live in list(self._live.values()):
            job = live.job()
            if live.is_new and job is not None and (all_jobs or now >= live.due):
                live.is_new = False
                yield job, live.due > job.began

    def sample(self, now: float, *, all_changes: bool = False) -> Iterator[DueWrite]:
        """
        Yield the records to be written.

        A job is sampled once per interval. With `all_changes`, those that have been sampled in this one are as well.
        """
        scheduled = self._schedule(now)
        for live in list(self._live.values()):
            job = live.job()
            if job is None or live.is_new or not (all_changes or now >= live.due):
                continue
            write = self._write_of(job, live, now)
            if write is not None:
                live.due, live.sent = scheduled + SPACING * self._interval, now
                yield DueWrite(write, job.began)

    def _schedule(self, now: float) -> float:
        """Return the time for which this round was scheduled, and schedule the next one."""
        if now < self._next_round:
            return now
        # A round that is a little late keeps the rhythm, so that the delays do not add up to fewer rounds.
        scheduled = self._next_round if now - self._next_round < self._interval else now
        self._next_round = scheduled + self._interval
        return scheduled

    def _write_of(self, job: Job, live: _LiveJob, now: float) -> Write | None:
        try:
            return job.sample() or (job.resend() if now - live.sent >= self._heartbeat else None)
        except Exception:
            # No known error arrives here. In any case, the other jobs are published.
            if not live.logged:
                _log().exception("Job %s cannot be published; other jobs are", job.id)
            live.logged = True
            return None

    # Called by the outbox.

    def latest(self) -> Iterable[DueWrite]:
        """Return the last record of each live job, to be written again."""
        writes = [(job.resend(), job.began) for job in self.jobs()]
        return [DueWrite(write, began) for write, began in writes if write is not None]

    def mark_stored(self, token: str | None, run: int, run_token: str | None) -> None:
        """
        Note that a record of a job is stored in this run, and notify the job's observers.

        `run_token` is that of the run of the parent to which the part belongs now, or of the job's own run if it has
        parts; None where there is none.
        """
        live = self._live.get(token or "")
        job = None if live is None else live.job()
        if job is not None:
            job.mark_stored(run, run_token)
            job.notify_observers()

    def notify_observers(self) -> None:
        """Notify the observers of all live jobs, though the records are not stored."""
        for job in self.jobs():
            job.notify_observers()


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
