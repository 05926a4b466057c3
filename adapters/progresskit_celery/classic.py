"""The classic form: an observer that a bound task makes of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.integrations import RunObserver

from .installation import find
from .installing import install
from .run import Run

if TYPE_CHECKING:
    from progresskit.integrations import Run as Execution


class ProgressObserver(RunObserver):
    """
    Reports to the job of the task that it is given.

        @app.task(bind=True)
        def work(self, rows):
            observer = ProgressObserver(self)
            for i, row in enumerate(rows, 1):
                observer.set_progress(i, len(rows), "reading")

    The job ends with the task. It works without `install` as well, from here on and for as long as the task runs; only
    cancelling takes that. In a task that is called as a plain function, or is none of the kit's jobs, it is silent.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(_execution(task))


def _execution(task: Any) -> Execution | None:
    run = Run.of(task)
    if run is None and task.request.id and not task.request.called_directly:
        installation = find(task.app)
        if installation is None:
            # The tasks were prepared for execution without the wrapper, so they must not be cancelled.
            install(task.app, cancellable=False)
            installation = find(task.app)
        if installation is not None and not installation.ignores(task.name):
            run = Run(installation, task)
    return None if run is None else run.execution
