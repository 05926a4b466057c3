"""The ways in which `watch` shows jobs but bars that move, see bars.py: lines, and records for machines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

from .records import details, harmless, phase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType

    from progresskit.progress import Progress

    from .console import Console
    from .records import Seen

QUIET_SECONDS = 10.0
"""A line is written for a running job at each tenth of its total, and after this time without a line."""


class Display(ABC):
    """Shows jobs, from entering to leaving."""

    tick: float | None = None
    """Seconds without news after which the jobs are shown again; None for never."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @abstractmethod
    def show(self, jobs: Mapping[str, Seen], changed: Collection[str]) -> None:
        """Show the jobs as they are; those in `changed` are not as they were shown before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  (most have no state to restore)
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Records(Display):
    """Writes each record as one line of JSON."""

    def show(self, jobs: Mapping[str, Seen], changed: Collection[str]) -> None:
        """Write those that have changed."""
        for id in changed:
            progress = jobs[id].progress
            if progress is not None:
                self._console.line(progress.to_json())


class _Line(NamedTuple):
    state: str
    tenth: int | None
    step: int | None
    failures: int
    at: float


def _line(progress: Progress | None, now: float) -> _Line:
    """Return the milestones of a job: its state, tenth and step, and how often its failed parts have doubled."""
    if progress is None:
        return _Line(phase(None), None, None, 0, now)
    tenth = None if progress.percent is None else int(progress.percent) // 10
    failed = progress.parts.failed if progress.parts else 0
    return _Line(phase(progress), tenth, progress.step, failed.bit_length(), now)


class Plain(Display):
    """Writes a line where there is something to say."""

    tick = 1.0

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._last_lines: dict[str, _Line] = {}

    def show(self, jobs: Mapping[str, Seen], changed: Collection[str]) -> None:
        """Write a line for each job with a milestone, and for each that has changed after a quiet time."""
        for seen in jobs.values():
            self.show_one(seen, is_changed=seen.id in changed)

    def show_one(self, seen: Seen, *, is_changed: bool = True) -> None:
        """Write a line for the job if there is a milestone, or it has changed after a quiet time."""
        now = monotonic()
        line = _line(seen.progress, now)
        last = self._last_lines.get(seen.id)
        news = last is None or last._replace(at=now) != line
        if news or (last is not None and now - last.at >= QUIET_SECONDS and is_changed):
            self._last_lines[seen.id] = line
            self._console.line(self._line(seen, line.state, now))

    def remove(self, seen: Seen) -> None:
        """Show the job no longer."""
        self._last_lines.pop(seen.id, None)

    def _line(self, seen: Seen, state: str, now: float) -> str:
        progress, dot = seen.progress, self._console.glyphs.dot
        percent = None if progress is None or progress.percent is None else f"{int(progress.percent)}%"
        description = harmless(progress.description or "") if progress else ""
        texts = filter(None, (percent, *details(progress, now - seen.at), description))
        return f"{datetime.now().astimezone():%H:%M:%S} {seen.id} {state:<9} {dot.join(texts)}".rstrip()
