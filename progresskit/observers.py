"""
Observers that show the jobs of a process where it runs: as bars in its terminal, or as lines of its log.

    PROGRESSKIT_OBSERVERS=terminal celery -A proj worker

The setting `observers` has each job of the process observed. A single one is observed by `attach`:

    with progresskit.observe("import-42", total=100) as job:
        job.attach(Terminal())
"""

from __future__ import annotations

import logging
import sys
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TextIO

from .progress import State
from .terminal.console import Console, device_of
from .terminal.displays import Plain
from .terminal.records import Arrivals, Seen, duration, harmless, measures, phase, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from .progress import Progress
    from .terminal.overlay import Overlay

__all__ = ["Logging", "Terminal"]

LOGGED_SECONDS = 30.0
"""A running job that reports is logged after this time without a line."""


class Terminal:
    """
    Draws the bars of jobs in the terminal of this process, below what it prints and logs.

    `stream` is standard error unless it is given. From now on, text that the process writes to the same terminal with
    `sys.stdout` or `sys.stderr` is written above the bars. A job that ends leaves its last line there. Where there is
    no terminal, or rich is not installed, lines are written to the stream, as `progresskit watch` does.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._arrivals = Arrivals()
        self._jobs: dict[str, Seen] = {}
        console = Console(_standard_error() if stream is None else stream)
        self._overlay = _overlay_of(console)
        self._lines = Plain(console)
        if console.hint is not None:
            console.line(f"progresskit: {console.hint}")

    def notify(self, progress: Progress) -> None:
        """Show the record."""
        id, is_over = progress.id, _is_over(progress)
        seen = self._arrivals.see(self._jobs.get(id) or Seen(_name(progress)), progress)
        if is_over:
            self._jobs.pop(id, None)
        else:
            self._jobs[id] = seen
        if self._overlay is None:
            self._write_line(seen, is_over)
        elif is_over:
            self._overlay.finish(id, seen)
        else:
            self._overlay.show(id, seen)

    def _write_line(self, seen: Seen, is_over: bool) -> None:
        self._lines.show_one(seen)
        if is_over:
            self._lines.remove(seen)


def _overlay_of(console: Console) -> Overlay | None:
    if console.rich is None:
        return None
    from .terminal.overlay import overlay_of

    return overlay_of(console)


def _standard_error() -> TextIO:
    """Return the stream of the terminal, if there is one: a queue may have replaced `sys.stderr` by its log."""
    if device_of(sys.stderr) is not None or sys.__stderr__ is None:
        return sys.stderr
    return sys.__stderr__


class Logging:
    """
    Logs jobs: a line at each tenth of the total, after 30 seconds without one, and at the end.

    `logger` is a logger or the name of one, and `level` that of all lines. A job that reports nothing is not logged
    again before its end. Of an error the message is logged only if it is meant for the public, see `PublicError`.
    `clock` returns seconds.
    """

    def __init__(
        self,
        logger: str | logging.Logger = "progresskit.jobs",
        level: int = logging.INFO,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level, self._clock = level, clock
        self._milestones = Milestones()

    def notify(self, progress: Progress) -> None:
        """Log the record if a line is due."""
        if self._milestones.is_due(progress, self._clock()):
            self._logger.log(self._level, "Job %s %s", _name(progress), sentence(progress))


class _Logged(NamedTuple):
    tenth: int
    at: float


class Milestones:
    """Decides which records of jobs are logged; see `Logging`."""

    def __init__(self) -> None:
        self._last: dict[str, _Logged] = {}

    def is_due(self, progress: Progress, now: float) -> bool:
        """Return whether a line is due for this record, at that moment of a clock; note that it is written."""
        if _is_over(progress):
            self._last.pop(progress.id, None)
            return True
        tenth = int(progress.percent or 0) // 10
        last = self._last.setdefault(progress.id, _Logged(0, now))
        is_due = tenth > last.tenth or now - last.at >= LOGGED_SECONDS
        # A total that grows while the job runs lets the percent go up and down by a little: that is no milestone.
        if is_due or tenth < last.tenth - 1:
            self._last[progress.id] = _Logged(tenth, now if is_due else last.at)
        return is_due


def sentence(progress: Progress) -> str:
    """Return "running: 40%, 5,208/12,400 rows", and "failed after 12s: ValueError, 40%" for a job that has ended."""
    shown = progress.redacted()
    texts = [
        "" if shown.error is None else reason(shown.error),
        "" if shown.percent is None else f"{int(shown.percent)}%",
        *measures(shown, 0),
        harmless(shown.description or ""),
    ]
    return f"{phase(shown)}{_duration(shown)}: {', '.join(filter(None, texts))}".removesuffix(": ")


def _duration(progress: Progress) -> str:
    began, ended = progress.started_at, progress.finished_at or progress.updated_at
    if not _is_over(progress) or began is None or ended is None:
        return ""
    return f" {'in' if progress.state is State.SUCCEEDED else 'after'} {duration((ended - began).total_seconds())}"


def _is_over(progress: Progress) -> bool:
    """Return whether the work of the job in its process is over: a retry may be done by another one."""
    return progress.done or progress.state is State.RETRYING


def _name(progress: Progress) -> str:
    """Return the kind of the job, which is the name of a task, and its id."""
    return f"{harmless(progress.kind)} {progress.id}" if progress.kind else progress.id
