"""
Bars that libraries draw with tqdm or rich, counted for the surrounding job.

`capture()` patches a few methods of tqdm's base class and of `rich.progress.Progress` while one of its blocks is open
anywhere in the process. A bar counts if it is made in the context of a block, for the job that surrounds it there; all
other bars behave as before.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial, wraps
from operator import length_hint
from threading import Lock, current_thread
from typing import TYPE_CHECKING, Any, Protocol

from . import scope
from .bars import report_bar
from .errors import Cancelled
from .observer import job_of, stage_of
from .steps import NAME_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .bars import BarReporter
    from .observer import ProgressObserver, StepObserver

    Method = Callable[..., Any]

ATTRIBUTE = "_progresskit_reporter"
"""Where a captured bar of tqdm keeps its reporter, and a Progress of rich those of its tasks."""

OWN = "_reports_bars"
"""An attribute of the classes of `progresskit.tqdm`, which report without being captured."""


class _Reporter(Protocol):
    def end(self) -> None:
        """Count no more."""


Block = list[_Reporter]
"""The reporters of the bars that were made in one `with capture()` block: they count until it is left."""

_block: ContextVar[Block | None] = ContextVar("progresskit_capture", default=None)


@contextmanager
def capture() -> Iterator[None]:
    """
    Count the bars that are drawn with tqdm and rich in this block for the job that surrounds them.

    A bar inside a bar refines its item, bars in sequence are unnamed steps, and the tasks of a `rich.progress.Progress`
    are named steps. A bar that is disabled counts too. Threads that are started in the block do not belong to it.
    """
    block: Block = []
    token = _block.set(block)
    _patches.install()
    try:
        yield
    finally:
        _patches.remove()
        with suppress(ValueError):  # left in another context than it was entered in
            _block.reset(token)
        for reporter in block:
            reporter.end()


class _Patches:
    """The patched methods: installed by the first block of the process, removed by the last one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks = 0
        self._originals: list[tuple[type, str, Any]] = []

    def install(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                self._install()

    def remove(self) -> None:
        with self._lock:
            self._blocks -= 1
            while self._originals and not self._blocks:
                owner, name, original = self._originals.pop()
                setattr(owner, name, original)

    def _install(self) -> None:
        try:
            from tqdm.std import tqdm
        except ImportError:
            pass
        else:
            self._patch(tqdm, _OF_TQDM)
        try:
            from rich.progress import Progress
        except ImportError:
            pass
        else:
            self._patch(Progress, _OF_RICH)

    def _patch(self, owner: type, wrappers: Mapping[str, Callable[[Method], Method]]) -> None:
        for name, wrapper in wrappers.items():
            self._originals.append((owner, name, vars(owner)[name]))
            original = getattr(owner, name)
            setattr(owner, name, wraps(original)(wrapper(original)))


_patches = _Patches()


# tqdm.


def _made(original: Method) -> Method:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        block = _block.get()
        job = None if block is None or hasattr(self, OWN) else scope.current_job()
        if block is not None and job is not None:
            reporter = report_bar(self, job, args, kwargs)
            setattr(self, ATTRIBUTE, reporter)
            block.append(reporter)

    return __init__


def _iterated(original: Method) -> Method:
    def __iter__(self: Any) -> Iterator[Any]:
        reporter: BarReporter | None = getattr(self, ATTRIBUTE, None)
        return iter(original(self)) if reporter is None else reporter.iterate(self, partial(original, self))

    return __iter__


def _drawn(original: Method) -> Method:
    def refresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        drawn = original(self, *args, **kwargs)
        if (reporter := getattr(self, ATTRIBUTE, None)) is not None:
            reporter.draw()
        return drawn

    return refresh


def _reset(original: Method) -> Method:
    def reset(self: Any, total: float | None = None) -> None:
        if (reporter := getattr(self, ATTRIBUTE, None)) is not None:
            reporter.reset()
        original(self, total)

    return reset


def _closed(original: Method) -> Method:
    def close(self: Any) -> None:
        original(self)
        if (reporter := getattr(self, ATTRIBUTE, None)) is not None:
            reporter.end()

    return close


_OF_TQDM = {"__init__": _made, "__iter__": _iterated, "refresh": _drawn, "reset": _reset, "close": _closed}


# rich.


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


def _task_added(original: Method) -> Method:
    def add_task(self: Any, *args: Any, **kwargs: Any) -> Any:
        id = original(self, *args, **kwargs)
        block = _block.get()
        job = None if block is None else scope.current_job()
        if block is not None and job is not None:
            reporter = TaskReporter(self._tasks[id], job)
            self.__dict__.setdefault(ATTRIBUTE, {})[id] = reporter
            block.append(reporter)
        return id

    return add_task


def _task_moved(original: Method) -> Method:
    def move(self: Any, task_id: Any, *args: Any, **kwargs: Any) -> None:
        original(self, task_id, *args, **kwargs)
        reporters = self.__dict__.get(ATTRIBUTE)
        if reporters is not None and (reporter := reporters.get(task_id)) is not None:
            reporter.move()

    return move


def _task_removed(original: Method) -> Method:
    def remove_task(self: Any, task_id: Any) -> None:
        original(self, task_id)
        if (reporter := self.__dict__.get(ATTRIBUTE, {}).pop(task_id, None)) is not None:
            reporter.end()

    return remove_task


def _stopped(original: Method) -> Method:
    def stop(self: Any) -> None:
        original(self)
        for reporter in self.__dict__.pop(ATTRIBUTE, {}).values():
            reporter.end()

    return stop


def _tracked(original: Method) -> Method:
    def track(self: Any, sequence: Any, total: float | None = None, *args: Any, **kwargs: Any) -> Any:
        job = None if _block.get() is None else scope.current_job()
        if job is not None and job.cancellable:
            total, sequence = total or float(length_hint(sequence)) or None, _checked(sequence, job)
        return original(self, sequence, total, *args, **kwargs)

    return track


def _checked(items: Iterable[Any], job: ProgressObserver) -> Iterator[Any]:
    """Raise Cancelled in the loop itself: rich moves its task from another thread."""
    for item in items:
        job.check_cancelled()
        yield item


_OF_RICH = {
    "add_task": _task_added,
    "advance": _task_moved,
    "update": _task_moved,
    "reset": _task_moved,
    "remove_task": _task_removed,
    "stop": _stopped,
    "track": _tracked,
}
