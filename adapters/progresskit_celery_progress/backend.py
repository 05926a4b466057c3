"""Recorders for tasks, and results for pages: the names of `celery_progress.backend`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from celery.backends.base import DisabledBackend
from celery.result import EagerResult

from .jobs import job_of
from .reading import metas_of, records_of
from .status import PROGRESS_STATE, counted, percentage, status

__all__ = [
    "PROGRESS_STATE",
    "AbstractProgressRecorder",
    "BaseProgressRecorder",
    "ConsoleProgressRecorder",
    "GroupProgress",
    "KnownResult",
    "Progress",
    "ProgressRecorder",
]


class AbstractProgressRecorder(ABC):
    """The interface by which a task reports its progress."""

    @abstractmethod
    def set_progress(self, current: Any, total: Any, description: Any = "") -> Any:
        """Say how many of how many are done."""

    @abstractmethod
    def increment_progress(self, by: Any = 1, description: Any = "") -> Any:
        """Say that `by` more are done."""


class BaseProgressRecorder(AbstractProgressRecorder):
    """Remembers its last arguments; a description stays until another one is given."""

    current: Any = 0
    total: Any = 0
    description: Any = ""

    def set_progress(self, current: Any, total: Any, description: Any = "") -> Any:
        """Say how many of how many are done."""
        self.current, self.total = current, total
        self.description = description or self.description

    def increment_progress(self, by: Any = 1, description: Any = "") -> Any:
        """Count `by` more as done, with the same total as before; 0 while no total is known."""
        self.set_progress(self.current + by, self.total, description)


class ConsoleProgressRecorder(BaseProgressRecorder):
    """Prints, for code that is run without Celery."""

    def set_progress(self, current: Any, total: Any, description: Any = "") -> Any:
        """Say how many of how many are done."""
        super().set_progress(current, total, description)
        print(f"processed {current} items of {total}. {description}")  # noqa: T201 - the purpose of this recorder


class ProgressRecorder(BaseProgressRecorder):
    """
    Reports to the job of a bound task: `ProgressRecorder(self).set_progress(3, 10, "reading")`.

    A call does no I/O and never fails because of a store; a separate thread writes the reports.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self._job = job_of(task)

    def set_progress(self, current: Any, total: Any, description: Any = "") -> tuple[str, dict[str, Any]]:
        """Report how many of how many are done; return the state and the progress as pages get them."""
        super().set_progress(current, total, description)
        self._job.set_progress(current, total, str(description or ""))
        return PROGRESS_STATE, counted(current, total, description)


class Progress:
    """How a task stands: `result` is an AsyncResult, or is like one."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def get_info(self) -> dict[str, Any]:
        """Return the status for pages; reads the kit's backend and Celery's."""
        return _infos((self.result,))[0]

    @property
    def is_failed(self) -> bool:
        """True once the task has ended badly, or while it waits to be retried."""
        info = self.get_info()
        return info["complete"] and info["success"] is False


class KnownResult(EagerResult):
    """A result whose state and value the caller knows; `ret_value` may be progress, in the state PROGRESS."""

    def __init__(self, id: Any, ret_value: Any, state: str, traceback: str | None = None) -> None:
        self.backend = DisabledBackend  # by which Celery decides which states are final
        super().__init__(id, ret_value, state, traceback)

    def ready(self) -> bool:
        """Return whether the state is a final one."""
        final: bool = self.state in self.backend.READY_STATES
        return final

    def __del__(self) -> None:
        """Do nothing: no result is pending."""


class GroupProgress:
    """How the tasks of a group stand together: `group_result` is a GroupResult, or has `children` as it does."""

    def __init__(self, group_result: Any) -> None:
        self.group_result = group_result

    def get_info(self) -> dict[str, Any]:
        """Return the status of each task for pages; one read for all tasks where the stores can."""
        if not self.group_result.children:
            raise ValueError("the group has no tasks")
        infos = _infos(self.group_result.children)
        total = sum(info["progress"]["total"] for info in infos)
        current = sum(info["progress"]["current"] for info in infos)
        return {
            "complete": all(info["complete"] for info in infos),
            "success": all(info["success"] for info in infos),
            "progress": {"total": total, "current": current, "percent": float(percentage(current, total))},
        }


def _infos(results: Any) -> list[dict[str, Any]]:
    # The records first: a job ends after Celery has stored its result, so Celery's later answer is never the older one.
    records = records_of(results)
    return [status(result.id, meta, records.get(result.id)) for result, meta in metas_of(results)]
