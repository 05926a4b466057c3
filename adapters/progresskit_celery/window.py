"""
Limits writes of the state PROGRESS to the time while a task's function runs.

A thread that writes that state enters the task's gate first, and leaves it after the write. The gate is closed when the
function returns or raises, before Celery stores the outcome: no thread can enter any more, and `close` waits for those
that are inside.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Any

from progresskit import forks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .run import Run

CLOSE_SECONDS = 6.0
"""
How long the end of a function waits for a write in progress; a call to a store takes less.

An even later write does no harm: no store accepts it once there is a result.
"""


class Window:
    """The run of one task's function."""

    def __init__(self, app: Any, task_id: str, request: Any) -> None:
        self.app, self.task_id, self.request = app, task_id, request
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Close the gate in a forked child: the task belongs to the parent."""
        self._changed = Condition()
        self._inside = 0
        self._closed = False

    def enter(self) -> bool:
        """Return whether the function still runs; if so, `leave` has to follow."""
        with self._changed:
            if not self._closed:
                self._inside += 1
            return not self._closed

    def leave(self) -> None:
        """Report the end of a write."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse new writes, and wait for those in progress."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside <= 0, CLOSE_SECONDS)


_open: dict[str, Window] = {}
"""The windows of this process, by job."""


def stores_result(task: Any) -> bool:
    """Return whether Celery will store the outcome of the present execution of the task."""
    request = task.request
    ignored = task.ignore_result if request.ignore_result is None else request.ignore_result
    return not ignored and (not request.is_eager or task.store_eager_result)


@contextmanager
def opened(execution: Run | None) -> Iterator[None]:
    """Keep the gate of an execution open; without a result that would replace PROGRESS, there is no gate."""
    if execution is None or execution.job.id in _open or not stores_result(execution.task):
        yield
        return
    id, task = execution.job.id, execution.task
    window = _open[id] = Window(task.app, task.request.id, task.request)
    try:
        yield
    finally:
        window.close()
        _open.pop(id, None)


@contextmanager
def entered(app: Any, ids: Iterable[str]) -> Iterator[dict[str, Window]]:
    """Enter the windows there are of an app's jobs; give them by job."""
    inside: dict[str, Window] = {}
    try:
        for id in ids:
            window = _open.get(id)
            if window is not None and window.app is app and window.enter():
                inside[id] = window
        yield inside
    finally:
        for window in inside.values():
            window.leave()


def _forked() -> None:
    for window in _open.values():
        window.after_fork_in_child()
    _open.clear()


forks.after_in_child(_forked)
