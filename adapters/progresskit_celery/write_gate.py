"""
Limits writes of the state PROGRESS to the time while a task's function runs.

A thread that writes that state enters the task's gate first, and leaves it after the write. The gate is closed when the
function returns or raises, before Celery stores the outcome: no thread can enter any more, and `close` waits for those
that are inside.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Condition
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from progresskit import forks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .run import Run

CLOSE_SECONDS = 6.0
"""
How long the end of a function waits for a write in progress; a call to a store takes less.

An even later write does no harm: no store accepts it once there is a result.
"""


class WriteGate:
    """Admits writers while the function of one task runs."""

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


_open: dict[str, WriteGate] = {}
"""The gates of this process, by job."""

_mirroring: WeakSet[Any] = WeakSet()
"""The apps whose tasks have gates."""


def mirror(app: Any) -> None:
    """Open gates for the tasks of the app from now on: their state is written."""
    _mirroring.add(app)


def stores_result(task: Any) -> bool:
    """Return whether Celery will store the outcome of the present execution of the task."""
    request = task.request
    ignored = task.ignore_result if request.ignore_result is None else request.ignore_result
    return not ignored and (not request.is_eager or task.store_eager_result)


def _needs_gate(execution: Run) -> bool:
    """Return whether PROGRESS may be written for an execution: it has a result, which will replace that."""
    task = execution.task
    return task.app in _mirroring and execution.job.id not in _open and stores_result(task)


def open_gate(execution: Run | None) -> AbstractContextManager[None]:
    """Keep the gate of an execution open, if it needs one."""
    return nullcontext() if execution is None or not _needs_gate(execution) else _open_gate(execution)


@contextmanager
def _open_gate(execution: Run) -> Iterator[None]:
    id, task = execution.job.id, execution.task
    gate = _open[id] = WriteGate(task.app, task.request.id, task.request)
    try:
        yield
    finally:
        gate.close()
        _open.pop(id, None)


@contextmanager
def enter_gates(app: Any, ids: Iterable[str]) -> Iterator[dict[str, WriteGate]]:
    """Enter the open gates of an app's jobs; give them by job."""
    inside: dict[str, WriteGate] = {}
    try:
        for id in ids:
            gate = _open.get(id)
            if gate is not None and gate.app is app and gate.enter():
                inside[id] = gate
        yield inside
    finally:
        for gate in inside.values():
            gate.leave()


def _forked() -> None:
    for gate in _open.values():
        gate.after_fork_in_child()
    _open.clear()


forks.after_in_child(_forked)
