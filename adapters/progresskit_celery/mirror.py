"""
The state PROGRESS of a task, for readers of `AsyncResult`, while the task's function runs.

An observer of the task's job writes it, in the publisher's thread, as often as the job is published. It is detached
when the function returns or raises, before Celery stores the outcome; that waits for a write that is under way.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from progresskit.progress import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from progresskit.progress import Progress

    from .run import Run

PAUSE_SECONDS = 5.0
"""How long no state is written after a write has failed, so that a store that hangs holds up few rounds."""


class MirrorStore(Protocol):
    """A store of the states of tasks."""

    def mirror(self, request: Any, result: Mapping[str, Any]) -> None:
        """Store PROGRESS with this result as the state of the task of a request, unless it has one that stays."""


class _Mirrors:
    """The stores, by app, and until when a store is left alone."""

    def __init__(self) -> None:
        self.stores: WeakKeyDictionary[Any, MirrorStore] = WeakKeyDictionary()
        self.paused_until: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


_mirrors = _Mirrors()


def mirror_in(app: Any, store: MirrorStore) -> None:
    """Write the states of the app's tasks to a store from now on."""
    _mirrors.stores[app] = store


class _Mirror:
    """The block in which the function of a task runs, and the observer of its job."""

    def __init__(self, run: Run, store: MirrorStore) -> None:
        self._run, self._store = run, store
        self._app, self._request = run.task.app, run.task.request
        self._process = os.getpid()
        self._is_over = False
        self._number = 0

    def __enter__(self) -> None:
        self._run.is_mirrored = True
        self._detach = self._run.execution.job.attach(self)

    def __exit__(self, *_: object) -> None:
        self._is_over = True  # also where a signal's handler raises while a write is waited for
        self._run.is_mirrored = False
        if os.getpid() == self._process:  # in a forked child the publisher's thread is gone, and its lock is not
            self._detach()

    def notify(self, progress: Progress) -> None:
        """Write the state."""
        self._number = self._number or progress.version.run
        if self._is_over or progress.state is not State.RUNNING or progress.version.run > self._number:
            return  # a later run, of a task that was delivered again, owns the record and the state
        if monotonic() < _mirrors.paused_until.get(self._app, 0.0):
            return
        about = ("current", "total", "description", "percent")
        try:
            self._store.mirror(self._request, {name: getattr(progress, name) for name in about})
        except Exception:
            _mirrors.paused_until[self._app] = monotonic() + PAUSE_SECONDS
            from logging import getLogger

            getLogger("progresskit").warning("The state of task %s cannot be stored", self._request.id, exc_info=True)


def mirrored(run: Run | None) -> AbstractContextManager[None]:
    """Return the block for the function of a task; one that does nothing where the state is not to be written."""
    store = None if run is None or run.is_mirrored else _mirrors.stores.get(run.task.app)
    # PROGRESS may be written of an execution that has a result, which will replace that.
    return nullcontext() if run is None or store is None or not stores_result(run.task) else _Mirror(run, store)


def stores_result(task: Any) -> bool:
    """Return whether Celery will store the outcome of the present execution of the task."""
    request = task.request
    ignored = task.ignore_result if request.ignore_result is None else request.ignore_result
    return not ignored and (not request.is_eager or task.store_eager_result)
