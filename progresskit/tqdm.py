"""
The classes of tqdm, with bars that report to the surrounding job.

    from progresskit.tqdm import tqdm

    for row in tqdm(rows):
        handle(row)

The terminal shows the same bar. Inside a job a bar counts like a loop of `track()`: an inner bar refines the item of
the outer bar, and bars in sequence are unnamed steps. A disabled bar, or one without a terminal, is reported too.
Outside of a job the bars are plain bars of tqdm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import scope
from .bars import report_bar
from .registry import needs_extra

with needs_extra("progresskit.tqdm", "tqdm"):
    from tqdm import asyncio, notebook, std

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bars import BarReporter
    from .observer import ProgressObserver

__all__ = ["bound", "tqdm", "tqdm_asyncio", "tqdm_notebook", "trange"]


class tqdm(std.tqdm):  # type: ignore[misc]  # tqdm has no types
    """`tqdm.tqdm`, whose bars report to the surrounding job."""

    _job: ProgressObserver | None = None
    """The job to report to, in place of the surrounding one."""

    _reporter: BarReporter | None = None
    _reports_bars = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        job = self._job or scope.current_job()
        if job is not None:
            self._reporter = report_bar(self, job, args, kwargs)

    def __iter__(self) -> Iterator[Any]:
        reporter = self._reporter
        return iter(super().__iter__()) if reporter is None else reporter.iterate(self, super().__iter__)

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the bar, and report total, description and postfix."""
        drawn = super().refresh(*args, **kwargs)
        if self._reporter is not None:
            self._reporter.draw()
        return drawn

    def reset(self, total: float | None = None) -> None:
        """Count from 0 again."""
        if self._reporter is not None:
            self._reporter.reset()
        super().reset(total)
        if self.disable:
            self.refresh()

    def close(self) -> None:
        """End the bar, and the count in the job."""
        super().close()
        if self._reporter is not None:
            self._reporter.end()


class tqdm_asyncio(tqdm, asyncio.tqdm_asyncio):  # type: ignore[misc]
    """`tqdm.asyncio.tqdm`, whose bars report to the surrounding job."""


class tqdm_notebook(tqdm, notebook.tqdm_notebook):  # type: ignore[misc]
    """`tqdm.notebook.tqdm`, whose bars report to the surrounding job."""


def trange(*args: Any, **kwargs: Any) -> tqdm:
    """Return a bar over a `range` of the first arguments; the others are those of the bar."""
    return tqdm(range(*args), **kwargs)


def bound(job: ProgressObserver) -> type[tqdm]:
    """
    Return a class whose bars report to the job from any thread.

    Threads do not inherit the surrounding job: give the class to a library as `tqdm_class`.
    """
    return type("tqdm", (tqdm,), {"_job": job, "__doc__": tqdm.__doc__})
