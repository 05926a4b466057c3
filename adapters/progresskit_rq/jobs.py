"""A job of RQ that reports what becomes of it, wherever RQ decides that: in its worker, its sender or a supervisor."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import rq.job
from rq.job import JobStatus

from progresskit.errors import Cancelled
from progresskit.progress import State

from .installation import ATTEMPT, attempt_of, installation, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from progresskit.integrations import Run
    from progresskit.kit import Kit

ENDS = {
    JobStatus.FAILED: State.FAILED,
    JobStatus.STOPPED: State.CANCELLED,
    JobStatus.CANCELED: State.CANCELLED,
}
"""What the statuses that a supervisor or a sender sets say of a job."""


class Job(rq.job.Job):
    """A job of RQ whose life is that of a job of `kit`, the default one unless it is set."""

    kit: ClassVar[Kit | None] = None

    progress_run: Run | None = None
    """The execution of the job, in the process that executes it."""

    progress_error: BaseException | str | None = None
    """The reason for which it failed."""

    _is_storing = False
    _unreported: State | None = None

    @property
    def was_cancelled(self) -> bool:
        """True where the function was stopped by a request to cancel."""
        return isinstance(self.progress_error, Cancelled)

    # In the process that executes.

    def perform(self) -> Any:
        """Execute the function, with the job as the surrounding one."""
        run = self.progress_run
        if run is None:
            return super().perform()
        run.enter()
        try:
            return super().perform()
        except BaseException as error:
            self.progress_error = error
            raise
        finally:
            run.leave()

    def end_progress(self) -> None:
        """End the run as RQ has ended the job, once that is stored; a run that has ended stays as it is."""
        run = self.progress_run
        if run is None:
            return
        if self.was_cancelled:
            run.cancel()
        elif self.progress_error is not None:
            run.fail(self.progress_error)
        elif self.get_status(refresh=False) is JobStatus.FAILED:  # it has returned `Retry` too often
            run.fail("no retries are left")
        else:
            run.succeed(self._result)

    @property
    def failure_callback(self) -> Any:
        """The callback of a failure, which being cancelled is not."""
        return None if self.was_cancelled else super().failure_callback

    def retry(self, queue: Any, pipeline: Any) -> None:
        """Report that the job is tried again, before it is in the queue again."""
        self._end_attempt(self.get_retry_interval())
        super().retry(queue, pipeline)

    def _handle_retry_result(self, queue: Any, pipeline: Any, retry: Any, *args: Any, **kwargs: Any) -> None:
        self._end_attempt(retry.get_interval(self.number_of_retries or 0, retry.intervals))
        super()._handle_retry_result(queue, pipeline, retry, *args, **kwargs)

    def _end_attempt(self, seconds: float) -> None:
        if self.progress_run is not None:
            self.progress_run.retry(datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None)
        self.meta[ATTEMPT] = attempt_of(self) + 1  # RQ stores it with the job

    # In any other process.

    def set_status(self, status: JobStatus, pipeline: Any = None) -> None:
        """Report an end that no worker reports: the job was cancelled, stopped, abandoned, or its worker was killed."""
        super().set_status(status, pipeline=pipeline)
        state = ENDS.get(status)
        if state is None or self.progress_run is not None:
            return
        if self._is_storing:
            self._unreported = state
        else:
            self._end_externally(state)

    def cancel(self, *args: Any, **kwargs: Any) -> Any:
        """Cancel the job, and report that once it is stored."""
        with self.storing():
            return super().cancel(*args, **kwargs)

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Report an end of this block after it: RQ has stored it by then."""
        self._is_storing, self._unreported = True, None
        try:
            yield
        finally:
            self._is_storing = False
        if self._unreported is not None:
            self._end_externally(self._unreported)

    def _end_externally(self, state: State) -> None:
        installation(self.kit).end_externally(
            self.id,
            state,
            kind=kind_of(self),
            error=(self.progress_error or "abandoned by its worker") if state is State.FAILED else None,
            attempt=attempt_of(self),
        )
