"""An app of Procrastinate, and its job manager, that report the life of each job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from procrastinate.app import App
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from progresskit.errors import ConfigurationError
from progresskit.integrations import inherit_owner

from .installation import Installation, execution_of

if TYPE_CHECKING:
    from datetime import datetime

    from procrastinate.jobs import Job

    from progresskit.kit import Kit


class ReportingJobManager(JobManager):
    """Reports each change of the queue, whether a sender, a worker or a supervisor of workers makes the change."""

    progresskit: Installation

    async def batch_defer_jobs_async(self, jobs: list[Job], connection: Any | None = None) -> list[Job]:
        """Defer jobs, and report them as pending."""
        deferred: list[Job] = await super().batch_defer_jobs_async([*map(_inheriting, jobs)], connection)
        self.progresskit.deferred(deferred)
        return deferred

    def batch_defer_jobs(self, jobs: list[Job], connection: Any | None = None) -> list[Job]:
        """Defer jobs, and report them as pending; in a transaction of Django, when the transaction commits."""
        deferred: list[Job] = super().batch_defer_jobs([*map(_inheriting, jobs)], connection)
        of_django = getattr(self.connector, "connection", None)
        if of_django is None:
            self.progresskit.deferred(deferred)
        else:
            of_django.on_commit(lambda: self.progresskit.deferred(deferred))
        return deferred

    async def defer_periodic_job(self, job: Job, periodic_id: str, defer_timestamp: int) -> int | None:
        """Defer a job of a periodic task, and report the job as pending, unless another worker has deferred the job."""
        id: int | None = await super().defer_periodic_job(job, periodic_id, defer_timestamp)
        self.progresskit.deferred([job.evolve(id=id)])
        return id

    async def finish_job_by_id_async(self, job_id: int, status: Status, delete_job: bool) -> None:
        """Finish a job, and report its end."""
        await super().finish_job_by_id_async(job_id, status, delete_job)
        await self.progresskit.ended(job_id, status)

    async def retry_job_by_id_async(self, job_id: int, retry_at: datetime, *args: Any, **kwargs: Any) -> None:
        """Put a job in the queue again; the job of this task is reported before another worker can fetch the job."""
        execution = execution_of(job_id)
        if execution is not None and not execution.was_aborted:
            await self.progresskit.retried(execution, retry_at)
        await super().retry_job_by_id_async(job_id, retry_at, *args, **kwargs)
        if execution is not None and execution.was_aborted:  # Procrastinate fails the job, against the retry strategy
            await self.progresskit.ended(job_id, Status.FAILED)

    def cancel_job_by_id(self, job_id: int, abort: bool = False, *args: Any, **kwargs: Any) -> bool:
        """Cancel a job, and report the job as cancelled."""
        is_cancelled: bool = super().cancel_job_by_id(job_id, abort, *args, **kwargs)
        if is_cancelled:
            self.progresskit.cancelled(job_id, abort)
        return is_cancelled

    async def cancel_job_by_id_async(self, job_id: int, abort: bool = False, *args: Any, **kwargs: Any) -> bool:
        """Cancel a job, and report the job as cancelled."""
        is_cancelled: bool = await super().cancel_job_by_id_async(job_id, abort, *args, **kwargs)
        if is_cancelled:
            await self.progresskit.in_thread(lambda id: self.progresskit.cancelled(id, abort), job_id)
        return is_cancelled

    def cancel_unreported(self, id: int, abort: bool) -> None:
        """Cancel a job without a report, as the request to cancel is stored; in a thread of its own."""
        try:
            super().cancel_job_by_id(id, abort)
        finally:
            of_django = getattr(self.connector, "connection", None)
            if of_django is not None:
                of_django.close()

    async def cancel_unreported_async(self, id: int, abort: bool) -> None:
        """Cancel a job without a report, as the request to cancel is stored."""
        await super().cancel_job_by_id_async(id, abort)


class ReportingApp(App):
    """Reports each job that a worker of the app executes."""

    progresskit: Installation

    def open_async(self, pool: Any = None) -> Any:
        """Open the app in this event loop."""
        try:
            self.progresskit.loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop runs: the app is opened where the result is awaited
            pass
        return super().open_async(pool)

    async def run_worker_async(self, **options: Any) -> None:
        """Run a worker, unless the configuration of the kit is wrong: that raises ConfigurationError."""
        progress = self.progresskit
        progress.check("a Procrastinate worker")
        progress.loop = asyncio.get_running_loop()
        theirs = options.pop("worker_middleware", self.worker_defaults.get("worker_middleware"))
        try:
            await super().run_worker_async(worker_middleware=[progress.execute, *(theirs or ())], **options)
        finally:
            await progress.in_thread(Installation.flush, progress)


def install(app: App, *, kit: Kit | None = None, cancellable: bool = True, capture: bool = False) -> None:
    """
    Make every job of the app one of the kit, under its own id, with the name of its task as its `kind`.

    `kit` is progresskit's default one unless it is given. With `cancellable=False`, or for a task whose function has
    `progress_cancellable = False`, reporting never raises Cancelled. With `capture`, bars that tasks draw with tqdm or
    rich count, as in a block of `progresskit.capture()`. Call it where the app is made; a later call replaces the
    settings. Raises ConfigurationError for the proxy that stands for the app of Django.

    A worker does not start with a kit that cannot work: it raises ConfigurationError.
    """
    if not isinstance(app, App):
        raise ConfigurationError('set PROCRASTINATE_ON_APP_READY = "progresskit_procrastinate.install" in the settings')
    manager: Any = _become(app.job_manager, ReportingJobManager)
    reporting: Any = _become(app, ReportingApp)
    if hasattr(manager, "progresskit"):
        manager.progresskit.withdraw()
    manager.progresskit = reporting.progresskit = Installation(manager, kit, cancellable, capture)


def _become(one: Any, ours: type) -> Any:
    """Give an object a class that derives from our class and from the class of the object."""
    theirs = type(one)
    if not isinstance(one, ours):
        one.__class__ = type(theirs.__name__, (ours, theirs), {})
    return one


def _inheriting(job: Job) -> Job:
    """Return the job with the owner of the surrounding job, unless the job names an owner."""
    arguments = {**job.task_kwargs}
    inherit_owner(arguments)
    return job if len(arguments) == len(job.task_kwargs) else job.evolve(task_kwargs=arguments)
