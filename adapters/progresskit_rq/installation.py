"""The integration of a kit with RQ: one for all queues and workers of a process that use the kit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rq.command import send_stop_job_command
from rq.exceptions import DeserializationError, InvalidJobOperation
from rq.job import JobStatus

from progresskit.default_kit import default
from progresskit.integrations import Integration, owner_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from rq import Queue
    from rq.job import Job

    from progresskit.integrations import Run
    from progresskit.kit import Kit

Reporting = TypeVar("Reporting")

ATTEMPT = "progresskit_attempt"
"""Where `Job.meta` keeps the number of the attempt, which RQ does not count."""

WAITING = ("queued", "deferred", "scheduled", "rate_limited", "ready_to_enqueue")
"""The statuses of a job that no worker has; the last two are those of RQ 3."""


class Installation(Integration):
    """How the jobs of RQ become those of a kit."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit, remove=self._cancel, terminate=self._stop)
        self._queues: dict[str, Queue] = {}

    def add(self, queue: Queue) -> None:
        """Look in this queue too for jobs that were cancelled; a site may make one for each request."""
        self._queues[queue.name] = queue

    def announce(self, job: Job) -> None:
        """Report that a job waits."""
        self.enqueued(job.id, kind=kind_of(job), owner=owner_of(job.meta))

    def begin(self, job: Job, *, inline: bool = False) -> Run:
        """Report that a job starts, and return its run."""
        return self.start(
            job.id,
            kind=kind_of(job),
            attempt=attempt_of(job),
            owner=owner_of(job.meta),
            cancellable=True,
            inline=inline,
        )

    def _cancel(self, ids: Collection[str]) -> list[str]:
        return [job.id for job in self._find(ids) if _cancel_waiting(job)]

    def _stop(self, ids: Collection[str]) -> list[str]:
        cancelled = []
        for job in self._find(ids):
            if job.get_status(refresh=False) is JobStatus.STARTED:
                _stop_running(job)
            elif _cancel_waiting(job):
                cancelled.append(job.id)
        return cancelled

    def _find(self, ids: Collection[str]) -> list[Job]:
        """Return the jobs with these ids; RQ keeps those of all queues of a server together."""
        found: dict[str, Job] = {}
        for queue in [*self._queues.values()]:
            wanted = [id for id in ids if id not in found]
            if wanted:
                jobs = queue.job_class.fetch_many(wanted, connection=queue.connection, serializer=queue.serializer)
                found |= {job.id: job for job in jobs if job is not None}
        return [*found.values()]


def _cancel_waiting(job: Job) -> bool:
    """Take a job out of its queue; return False where it does not wait."""
    if job.get_status(refresh=False).value not in WAITING:
        return False
    try:
        job.cancel()
    except InvalidJobOperation:  # somebody else has cancelled it meanwhile
        return False
    return True


def _stop_running(job: Job) -> None:
    """Have the worker kill the work-horse of a job."""
    try:
        send_stop_job_command(job.connection, job.id, job.serializer)
    except InvalidJobOperation:  # it has ended meanwhile
        pass


_installations: dict[Kit, Installation] = {}


def installation(kit: Kit | None = None) -> Installation:
    """Return the integration of a kit, of the default one unless it is given."""
    kit = kit or default()
    if kit not in _installations:
        _installations[kit] = Installation(kit)
    return _installations[kit]


_derived: dict[tuple[Any, Any, Kit | None], Any] = {}


def derive(ours: type[Reporting], theirs: Any, kit: Kit | None) -> type[Reporting]:
    """Return a class that reports to the kit as `ours` does, and is else the class of the site, `theirs`."""
    if issubclass(theirs, ours) and theirs.kit is kit:
        return theirs  # type: ignore[no-any-return]
    if issubclass(ours, theirs) and kit is None:
        return ours
    key = (ours, theirs, kit)
    if key not in _derived:
        bases = (theirs,) if issubclass(theirs, ours) else (ours, theirs)
        _derived[key] = type(theirs.__name__, bases, {"kit": kit})
    found: type[Reporting] = _derived[key]
    return found


def kind_of(job: Job) -> str | None:
    """Return the name of the job's function; None where this process cannot read it."""
    try:
        return job.func_name
    except DeserializationError:
        return None


def attempt_of(job: Job) -> int:
    """Return the number of the attempt that comes next, or is under way."""
    attempt: Any = job.meta.get(ATTEMPT)
    return attempt if isinstance(attempt, int) and attempt > 0 else 1
