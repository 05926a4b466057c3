"""Workers of RQ that report what they execute, and the fate of a work-horse that was killed."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, ClassVar

import rq
from rq.timeouts import JobTimeoutException
from rq.worker import BaseWorker

from .installation import derive, installation
from .jobs import Job

if TYPE_CHECKING:
    from progresskit.kit import Kit


class WorkerMixin(BaseWorker):
    """
    Makes a worker report to `kit`, the default one unless it is set; for workers of a class of one's own.

        class Spawning(progresskit_rq.WorkerMixin, rq.worker.SpawnWorker): ...
    """

    kit: ClassVar[Kit | None] = None
    capture: ClassVar[bool] = False
    """True to count the bars that jobs draw with tqdm or rich, as in a block of `progresskit.capture()`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.job_class = derive(Job, self.job_class, self.kit)
        installation(self.kit).capture = self.capture
        for queue in self.queues:
            queue.job_class = derive(Job, queue.job_class, self.kit)  # of the jobs that a worker has abandoned
            installation(self.kit).add(queue)

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Work, unless the configuration of the kit is wrong: that raises ConfigurationError."""
        progress = installation(self.kit)
        progress.check("an RQ worker")
        try:
            return super().work(*args, **kwargs)
        finally:
            progress.flush()

    def perform_job(self, job: Any, *args: Any, **kwargs: Any) -> bool:
        """Execute a job; it ends after RQ has stored its result, and before the work-horse exits."""
        progress = installation(self.kit)
        job.progress_run = run = progress.begin(job)
        try:
            succeeded = super().perform_job(job, *args, **kwargs)
            job.end_progress()
        except BaseException as error:
            # RQ could not store how the job ended; of a work-horse that exits for that, the worker decides.
            if self.is_horse:
                run.detach()
            else:
                run.end_by(error)
            raise
        finally:
            if self.is_horse:
                progress.exit()
        return succeeded

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        """Log an error and hand it to the site's handlers, unless the job was cancelled."""
        if job.was_cancelled:
            self.log.info("Job %s was cancelled", job.id)
            return
        job.progress_error = exc_info[1]
        super().handle_exception(job, *exc_info)

    def handle_job_failure(self, job: Any, *args: Any, **kwargs: Any) -> None:
        """Store a failure; a job that was cancelled is stopped, as by RQ's own command."""
        if job.was_cancelled:
            self._stopped_job_id = job.id
            self._call_stopped_callback(job)
        with job.storing():
            super().handle_job_failure(job, *args, **kwargs)

    def _call_stopped_callback(self, job: Any) -> None:
        try:
            callback = job.stopped_callback
            if callback is not None:
                with self.death_penalty_class(job.stopped_callback_timeout, JobTimeoutException, job_id=job.id):
                    callback(job, job.connection)
        except Exception:
            self.log.exception("Job %s: error while executing the stopped callback", job.id)

    def handle_work_horse_killed(self, job: Any, retpid: Any, ret_val: Any, rusage: Any) -> None:
        """Note the reason for which the job of a killed work-horse fails."""
        job.progress_error = f"its work-horse was killed, with status {ret_val}"
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]


class Worker(WorkerMixin, rq.Worker):
    """Executes each job in a process of its own, as `rq.Worker` does."""

    _is_frozen = False

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """
        Fork a work-horse.

        The first time, all objects there are leave the reach of the garbage collector: it would write to each of them
        in a work-horse, which then gets a copy of the memory of its worker.
        """
        if not self._is_frozen:
            self._is_frozen = True
            gc.collect()
            gc.freeze()
        super().fork_work_horse(job, queue)


class SimpleWorker(WorkerMixin, rq.SimpleWorker):
    """Executes jobs in its own process, as `rq.SimpleWorker` does."""
