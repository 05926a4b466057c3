"""
Pools of threads and of processes whose workers count for the surrounding job.

A thread gets the context of the calling code. A process has an observer that stands for the job of the parent process:
each count is added at once to a file that the parent reads, see shared_counts.py.
"""

from __future__ import annotations

from concurrent import futures
from contextvars import copy_context
from functools import partial
from multiprocessing import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar

from . import forks, scope, validation
from .counting import OPEN
from .job import Job, do_nothing
from .observer import Guest, NoSink, job_of, stage_of
from .reports import Reports
from .shared_counts import SharedCount, SharedCounts
from .snapshots import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from .observer import ProgressObserver

P = ParamSpec("P")
Answer = TypeVar("Answer")


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """
    The executor of `concurrent.futures`, whose threads run each call in a copy of the context of `submit` or `map`.

    So the surrounding job is that of the calling code.
    """

    def submit(self, fn: Callable[P, Answer], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[Answer]:
        """Call `fn` in a thread, in a copy of this context."""
        return super().submit(partial(copy_context().run, fn, *args, **kwargs))


class Initializer(TypedDict):
    """The arguments by which a pool prepares each of its processes."""

    initializer: Callable[..., object]
    initargs: tuple[Any, ...]


def initializer(job: ProgressObserver | None = None) -> Initializer:
    """
    Return the arguments with which the processes of a pool count for a job, by default the surrounding one.

    They are for `multiprocessing.Pool`, `concurrent.futures.ProcessPoolExecutor` and joblib's `Parallel`. In the
    processes, `advance()`, `track()` and the newest description count for the job, until it ends; a process that is
    killed loses nothing that it counted. Other reports are ignored there. Without a job, the processes have none.
    """
    observer = job or scope.current_job()
    folder = None if observer is None else _shared_folder(observer)
    if observer is None or folder is None:
        return Initializer(initializer=do_nothing, initargs=())
    shared = job_of(observer)
    return Initializer(initializer=_begin, initargs=(str(folder), shared.label, shared.owner, shared.cancellable))


def _shared_folder(observer: ProgressObserver) -> Path | None:
    """Return the folder in which processes count for a job; None where they cannot."""
    job = job_of(observer)
    if isinstance(job, _ChildJob):
        return job.folder
    try:
        counts = job.share(stage_of(observer), SharedCounts)
    except OSError as problem:
        from logging import getLogger

        getLogger("progresskit").warning("Job %s: processes cannot count for it: %s", job.id, problem)
        return None
    return None if counts is None else counts.folder


def _begin(folder: str, id: str, owner: str | None, cancellable: bool) -> None:
    """Make the job of the parent the surrounding one in this process."""
    count = SharedCount(Path(folder))
    forks.after_in_child(count.restart)
    util.Finalize(None, count.finish, exitpriority=0)
    scope.enter(_ChildObserver(count, Identity(id, token="", owner=owner), cancellable))


class _ChildJob(Job):
    """The job of the parent process, as a child has it: counts and descriptions go to the parent, all else nowhere."""

    __slots__ = ("_count",)

    def __init__(self, count: SharedCount, identity: Identity, slots: Reports, cancellable: bool) -> None:
        self._count = count
        super().__init__(NoSink(), identity, slots, cancellable=cancellable)

    @property
    def folder(self) -> Path:
        """The folder in which all processes count for the job."""
        return self._count.folder

    @property
    def cancel_requested(self) -> bool:
        """True once the parent's job was asked to stop."""
        return self._count.cancelled[0] == 1

    @property
    def count_at_once(self) -> Callable[[float], None]:
        """Count items for the parent: this process may be killed before any thread of it could."""
        return self._count.add

    @property
    def description(self) -> str | None:
        """The text is not kept here."""
        return None

    @description.setter
    def description(self, text: str | None) -> None:
        if text is not None:
            self._count.describe(text)


class _ChildObserver(Guest):
    """The surrounding job of the processes of a pool."""

    __slots__ = ("_add", "_cancelled")

    def __init__(self, count: SharedCount, identity: Identity, cancellable: bool) -> None:
        # Deliberately not super().__init__(), which makes a job of this process.
        Reports.__init__(self)
        self._scopes = []
        self._add, self._cancelled = count.add, count.cancelled
        job = _ChildJob(count, identity, self, cancellable)
        self._bind(job)

    def advance(self, n: float = 1) -> None:
        """Count `n` more items as done; a negative `n` lowers the count of the job."""
        if self._cancelled[0]:
            self._job.admit()
        if type(n) is int and 0 <= n <= OPEN:
            self._add(n)
        elif (number := self._job.validated("n", validation.change, n)) is not None:
            self._add(number)
