"""A queue of RQ that reports which jobs wait in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import rq

from progresskit.integrations import inherit_owner

from .installation import derive, installation
from .jobs import Job

if TYPE_CHECKING:
    from progresskit.kit import Kit


class Queue(rq.Queue):
    """A queue of RQ whose jobs are those of `kit`, the default one unless it is set."""

    kit: ClassVar[Kit | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.report()

    def report(self) -> None:
        """Begin to report: what the queue makes and fetches are jobs that do, and those that are cancelled leave it."""
        self.job_class = derive(Job, self.job_class, self.kit)
        installation(self.kit).add(self)

    def create_job(self, *args: Any, **kwargs: Any) -> Any:
        """Make a job, which has the owner of the surrounding one."""
        job = super().create_job(*args, **kwargs)
        job.meta = {**job.meta}
        inherit_owner(job.meta)
        return job

    def enqueue_job(self, job: Any, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a job, or defer it, and report that it waits."""
        return self._announced(super().enqueue_job(job, *args, **kwargs))

    def schedule_job(self, job: Any, *args: Any, **kwargs: Any) -> Any:
        """Schedule a job, and report that it waits."""
        return self._announced(super().schedule_job(job, *args, **kwargs))

    def enqueue_many(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue jobs, and report that they wait."""
        return [self._announced(job) for job in super().enqueue_many(*args, **kwargs)]

    def _announced(self, job: Any) -> Any:
        if self._is_async:
            installation(self.kit).announce(job)
        return job

    def run_sync(self, job: Any) -> Any:
        """Execute a job at once (`is_async=False`), as a child of the surrounding one."""
        if not isinstance(job, Job):
            return super().run_sync(job)
        job.progress_run = installation(self.kit).begin(job, inline=True)
        try:
            return super().run_sync(job)
        finally:
            job.end_progress()


def install(queue: rq.Queue, *, kit: Kit | None = None) -> None:
    """
    Make every job that is sent to the queue one of the kit, under its own id, with the function's name as its `kind`.

    `kit` is progresskit's default one unless it is given. Call it in each process that sends jobs or cancels them. The
    workers are `progresskit_rq.Worker`, or another one of `progresskit_rq.WorkerMixin`.
    """
    queue.__class__ = derive(Queue, type(queue), kit)
    queue.report()  # type: ignore[attr-defined]
