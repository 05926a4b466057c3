"""A task while a worker executes it, and the tasks that come after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from huey.exceptions import CancelExecution

from progresskit.errors import Cancelled
from progresskit.integrations import OWNER_HEADER, inherit_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from progresskit.integrations import Run

ATTEMPT = "progresskit_attempt"
"""The keyword argument of a task that is tried again; Huey counts only the retries that are left."""

REPORTED = "progresskit_reported"
EXECUTION = "progresskit_execution"


class Execution:
    """
    The run of a task, kept by the task itself; its job is the surrounding one from `begin` to `end`.

    Huey carries nothing of ours but keyword arguments; the task's function gets them without ours.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self.carried = {name: task.kwargs.pop(name) for name in (OWNER_HEADER, ATTEMPT) if name in task.kwargs}
        attempt = self.carried.get(ATTEMPT)
        self.attempt = attempt if isinstance(attempt, int) and attempt > 0 else 1
        self.called = False
        self.run: Run | None = None

    @classmethod
    def of(cls, task: Any) -> Self | None:
        """Return the execution of a task; None for one that was not started here."""
        return getattr(task, EXECUTION, None)

    def begin(self, run: Run) -> None:
        """Start, and keep `Cancelled` inside the task: it would end Huey's worker."""
        self.run = run.enter()
        self._task.execute = self._wrapped(self._task.execute)
        setattr(self._task, EXECUTION, self)

    def fail(self, error: BaseException | str) -> None:
        """Fail a task that Huey loses: its worker ends, or Huey could not store the end of the task."""
        if self.run is not None:
            self.run.fail(error)
            self.end()

    def end(self) -> None:
        """End: the task, which may be executed again, is as it was."""
        if self.run is not None:
            self.run.leave()
            self.run = None
            del self._task.execute
            delattr(self._task, EXECUTION)

    def carry_on(self) -> None:
        """Give the task the arguments that it takes along to its next attempt."""
        self._task.kwargs.update(self.carried, **{ATTEMPT: self.attempt + 1})

    def _wrapped(self, execute: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> Any:
            self.called = True
            try:
                return execute()
            except Cancelled:
                raise CancelExecution("cancelled", retry=False) from None

        return call


def followers(task: Any) -> Iterator[Any]:
    """Yield the tasks of a pipeline that come after this one: their ids are known from the beginning."""
    while (task := task.on_complete) is not None:
        yield task


def hand_down_owner(task: Any) -> None:
    """Give the owner of the surrounding job to the tasks that Huey sends when this one has ended."""
    callback = None if task.chord_config is None else task.chord_config.callback
    for each in (task.on_complete, task.on_error, callback):
        if each is not None:
            inherit_owner(each.kwargs)
    if task.on_complete is not None:
        setattr(task.on_complete, REPORTED, True)
