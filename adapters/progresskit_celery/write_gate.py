"""
Limits writes of the state PROGRESS to the time while a task's function runs.

A thread that writes that state enters the task's gate first, and leaves it after the write. The gate is closed when the
function returns or raises, before Celery stores the outcome: no thread can enter any more, and `close` waits for those
that are inside.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from threading import Event, Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from progresskit import forks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .run import Run

CLOSE_SECONDS = 6.0
"""
How long the end of a function waits for a write in progress; a call to a store takes less.

An even later write does no harm: no store accepts it once there is a result.
"""


class WriteGate:
    """
    Admits writers while the function of one task runs: in the block of which the gate is the context manager.

    `job` is the id of the task's job.
    """

    __slots__ = ("_closed", "_inside", "_job", "_left", "_lock", "app", "request")

    def __init__(self, job: str, app: Any, request: Any) -> None:
        self._job, self.app, self.request = job, app, request
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Close the gate in a forked child: the task belongs to the parent."""
        self._lock = Lock()
        self._left: Event | None = None  # made when there is a writer to wait for
        self._inside, self._closed = 0, False

    def __enter__(self) -> None:
        _open[self._job] = self

    def __exit__(self, *_: object) -> None:
        self.close()
        _open.pop(self._job, None)

    def enter(self) -> bool:
        """Return whether the function still runs; if so, `leave` has to follow."""
        with self._lock:
            if not self._closed:
                self._inside += 1
            return not self._closed

    def leave(self) -> None:
        """Report the end of a write."""
        with self._lock:
            self._inside -= 1
            if self._inside <= 0 and self._left is not None:
                self._left.set()

    def close(self) -> None:
        """Refuse new writes, and wait for those in progress."""
        with self._lock:
            self._closed = True
            if self._inside <= 0:
                return
            self._left = Event()
        self._left.wait(CLOSE_SECONDS)


_open: dict[str, WriteGate] = {}
"""The gates of this process, by job."""

_NO_GATE = nullcontext()

_mirroring: WeakSet[Any] = WeakSet()
"""The apps whose tasks have gates."""


def mirror(app: Any) -> None:
    """Open gates for the tasks of the app from now on: their state is written."""
    _mirroring.add(app)


def stores_result(task: Any) -> bool:
    """Return whether Celery will store the outcome of the present execution of the task."""
    return _stores_result(task, task.request)


def _stores_result(task: Any, request: Any) -> bool:
    ignored = task.ignore_result if request.ignore_result is None else request.ignore_result
    return not ignored and (not request.is_eager or task.store_eager_result)


def open_gate(execution: Run | None) -> AbstractContextManager[None]:
    """Return the gate of an execution, which is open in a block, if it needs one."""
    if execution is None or execution.task.app not in _mirroring:
        return _NO_GATE
    task, job = execution.task, execution.execution.id
    request = task.request
    # PROGRESS may be written of an execution that has a result, which will replace that.
    is_needed = job not in _open and _stores_result(task, request)
    return WriteGate(job, task.app, request) if is_needed else _NO_GATE


def enter_gates(app: Any, ids: Iterable[str]) -> dict[str, WriteGate]:
    """Enter the open gates of an app's jobs, each of which is to be left, and return them by job."""
    gates = {id: gate for id in ids if (gate := _open.get(id)) is not None and gate.app is app}
    return {id: gate for id, gate in gates.items() if gate.enter()}


def _forked() -> None:
    for gate in _open.values():
        gate.after_fork_in_child()
    _open.clear()


forks.after_in_child(_forked)
