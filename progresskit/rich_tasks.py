"""The tasks of a `rich.progress.Progress` as named steps of a job."""

from __future__ import annotations

from threading import Lock, current_thread
from typing import TYPE_CHECKING, Any

from .errors import Cancelled
from .observer import job_of, stage_of
from .steps import NAME_LENGTH

if TYPE_CHECKING:
    from .observer import ProgressObserver, StepObserver


class TaskReporter:
    """
    Reports one task as a step of a job, from its first move until it is finished or `end` is called.

    Tasks are often all added at the beginning: so the step of the one that moves is shown.
    """

    __slots__ = ("_ended", "_lock", "_observer", "_seen", "_step", "_task")

    def __init__(self, task: Any, observer: ProgressObserver) -> None:
        self._task, self._observer = task, observer
        self._lock = Lock()  # rich updates a task from several threads
        self._step: StepObserver | None = None
        self._seen = task.description
        self._ended = False

    def move(self) -> None:
        """
        Take over where the task is. Raises Cancelled in a cancellable job that was asked to stop.

        Not in the thread in which rich follows a loop: that would not stop the loop.
        """
        try:
            self._move()
        except Cancelled:
            if type(current_thread()).__name__ != "_TrackThread":
                raise

    def _move(self) -> None:
        task = self._task
        with self._lock:
            if self._ended or not (task.completed or self._step):
                return
            step = self._step = self._step or self._enter()
            if task.description != self._seen:
                self._seen = task.description
                self._observer.update(description=_plain(self._seen))
            step.set_progress(task.completed, task.total)
            if task.finished:
                self._leave(None)

    def end(self) -> None:
        """Count no more: a task that is not finished is cancelled."""
        with self._lock:
            self._leave(None if self._task.finished or self._task.total is None else GeneratorExit())

    def _enter(self) -> StepObserver:
        step = self._observer.step(_plain(self._seen)[:NAME_LENGTH] or "Task")
        job_of(step).enter(stage_of(step))
        return step

    def _leave(self, error: BaseException | None) -> None:
        if self._step is not None and not self._ended:
            job_of(self._step).leave(stage_of(self._step), error)
        self._ended = True


def _plain(markup: str) -> str:
    """Return the text of a description without rich's markup."""
    from rich.errors import MarkupError
    from rich.text import Text

    try:
        return Text.from_markup(markup).plain
    except MarkupError:
        return markup
