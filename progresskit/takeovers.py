"""
Notices jobs that were started again, by another process perhaps: their record belongs to that newer start.

Reports of the older start are ignored then, as the fold demands; without a warning, two processes with the same id by
mistake would look as if one of them made no reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import BackendError
from .progress import FINAL_STATES, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .abc import Backend
    from .job import Job
    from .progress import Write

MOST = 500
"""How many jobs are looked up at once."""


class Takeovers:
    """
    Logs each such job once.

    Most backends answer a write with the run that is stored. Where one does not, the records are read once a heartbeat.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float], heartbeat: float) -> None:
        self._backend, self._clock, self._heartbeat = backend, clock, heartbeat
        self._due = clock() + heartbeat
        self._reading = False
        self._known: set[str] = set()  # the tokens of starts that were logged
        self._next = 0

    def notice(self, write: Write, run: int | None) -> None:
        """Learn that a record was written, and which run is stored now; None where the backend does not say."""
        # An end that is sent again after an outage was stored before: no report is lost if it is ignored now.
        if write.role is Role.UPDATE and write.run and not write.late:
            if run is None:
                self._reading = True
            elif run > write.run:
                self._report(write.id, write.token)
        if write.state in FINAL_STATES:
            self._known.discard(write.token or "")

    def look(self, jobs: Callable[[], Iterable[Job]], down: bool) -> None:
        """Read the records of live jobs if that is due."""
        now = self._clock()
        if not self._reading or down or now < self._due:
            return
        self._due, self._reading = now + self._heartbeat, False
        looked_up = self._chosen([job for job in jobs() if job.run and job.token not in self._known])
        try:
            records = self._backend.read(list({job.id for job in looked_up})) if looked_up else {}
        except BackendError:
            return
        for job in looked_up:
            record = records.get(job.id)
            if record is not None and record.version.run > job.run:
                self._report(job.id, job.token)

    def _chosen(self, jobs: list[Job]) -> list[Job]:
        """Return the next ones of many."""
        if len(jobs) <= MOST:
            return jobs
        begin = self._next % len(jobs)
        self._next = begin + MOST
        return (jobs + jobs)[begin : begin + MOST]

    def _report(self, id: str, token: str | None) -> None:
        if token is None or token in self._known:
            return
        self._known.add(token)
        from logging import getLogger

        getLogger("progresskit").warning(
            "Job %s was started again, by another process perhaps: the record belongs to that newer start, and what "
            "this one reports is ignored. Give each job an id of its own",
            id,
        )
