"""Records as lines of a terminal, drawn with rich: a bar for each job, in columns that stand below each other."""

from __future__ import annotations

import logging
import signal
import sys
from itertools import accumulate
from math import floor
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from progresskit.registry import needs_extra

from .displays import Display
from .records import COLOURS, details, harmless, label, phase, summary, width

with needs_extra("a bar in the terminal", "cli"):
    from rich.cells import set_cell_size
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import FrameType, TracebackType
    from typing import Self

    from progresskit.steps import Step

    from .console import Console, Glyphs
    from .records import Seen

_WAITING = frozenset(("unknown", "pending"))

FRAMES_PER_SECOND = 10
_NARROWEST_BAR, _WIDEST_BAR = 8, 40


class LiveBars(Display):
    """Draws bars in place, below warnings that are logged meanwhile; the last frame stays."""

    tick = 1 / FRAMES_PER_SECOND

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        assert console.rich is not None
        self._rich = console.rich
        # The frame fits the screen. Only the last one may not, and it is drawn once.
        self._live = Live(console=self._rich, auto_refresh=False, vertical_overflow="visible", redirect_stderr=False)
        self._warnings = _Warnings(self._rich.print)
        self._drawn: list[Text] = []
        self._columns = 0

    def show(self, jobs: Mapping[str, Seen], changed: Collection[str]) -> None:
        """Draw one frame."""
        columns, lines = self._console.size
        if columns < self._columns:
            self._go_up(columns)
        # The last column stays free: some terminals break a line that fills it.
        self._drawn = frame(jobs.values(), (columns - 1, lines - 1), monotonic(), self._console.glyphs)
        self._columns = self._rich.width = columns
        self._live.update(Group(*self._drawn), refresh=len(self._drawn) < lines)

    def _go_up(self, columns: int) -> None:
        """Go to where rich expects the end of a frame whose lines the narrower terminal has broken in two."""
        broken = sum(max(-(-line.cell_len // columns), 1) - 1 for line in self._drawn)
        self._console.write(f"\x1b[{broken}A\x1b[J" if broken else "")

    def __enter__(self) -> Self:
        # Without this a `kill` would leave the terminal without a cursor.
        self._before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
        logging.getLogger("progresskit").addHandler(self._warnings)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        logging.getLogger("progresskit").removeHandler(self._warnings)
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


class _Warnings(logging.Handler):
    """Writes log messages above the bars: a line in their midst would tear them."""

    def __init__(self, write: Callable[[Text], object]) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(Text(harmless(record.getMessage()), "yellow"))


def frame(jobs: Collection[Seen], size: tuple[int, int], now: float, glyphs: Glyphs, longest: int = 0) -> list[Text]:
    """
    Return a line for each job that has room in these columns and lines, and one about the others.

    Jobs that are not done go before others; in the end all are shown. `longest` is as for `draw`.
    """
    columns, lines = size
    shown = _chosen(jobs, lines)
    drawn = draw(shown, columns, now, glyphs, longest)
    if len(shown) < len(jobs):
        left = [seen for seen in jobs if seen not in shown]
        drawn.append(Text(_fit(f"  and {summary(left)}", columns, glyphs), "dim"))
    return drawn


def _chosen(jobs: Collection[Seen], room: int) -> list[Seen]:
    live = [seen for seen in jobs if not (seen.progress and seen.progress.done)]
    if len(jobs) <= room or not live:
        return list(jobs)
    done = [seen for seen in jobs if seen not in live]
    kept = {seen.id for seen in (live + done)[: max(room - 1, 1)]}
    return [seen for seen in jobs if seen.id in kept]


def longest_label(jobs: Iterable[Seen]) -> int:
    """Return the width of the longest label."""
    return max((width(label(seen)) for seen in jobs), default=0)


def draw(jobs: Collection[Seen], columns: int, now: float, glyphs: Glyphs, longest: int = 0) -> list[Text]:
    """Return a line for each job, none wider than `columns`; `longest` is the width of a label that others have."""
    lines = _columns(max(longest, longest_label(jobs)), columns)
    return [_draw_one(seen, lines, now, glyphs) for seen in jobs]


class _Columns(NamedTuple):
    label: int
    bar: int
    details: int


def _columns(longest: int, columns: int) -> _Columns:
    room = columns - 2
    bar = min(max(room // 4, _NARROWEST_BAR), _WIDEST_BAR) if room >= 40 else 0
    rest = room - (bar + 2 + 6 if bar else 6)
    wanted = min(longest, max(rest // 2, 12))
    return _Columns(min(wanted, rest), bar, max(rest - wanted - 2, 0))


def _draw_one(seen: Seen, columns: _Columns, now: float, glyphs: Glyphs) -> Text:
    progress = seen.progress
    state = phase(progress)
    sign = glyphs.states[state]
    if state == "running":
        sign = glyphs.spinner[floor(now * FRAMES_PER_SECOND) % len(glyphs.spinner)]
    percent = None if progress is None or state in _WAITING else progress.percent
    line = Text.assemble(
        (sign, COLOURS[state]),
        " ",
        (_fit(label(seen), columns.label, glyphs), "dim" if state in _WAITING else ""),
        no_wrap=True,
    )
    if columns.bar:
        cuts = _cuts(progress.steps if progress else None, columns.bar)
        line.append("  ").append_text(_bar(percent, state, columns.bar, now, glyphs, cuts))
    line.append(f"{'' if percent is None else f'{floor(percent)}%':>6}")
    if columns.details > 3:
        text = _joined(details(progress, now - seen.at), columns.details, glyphs.dot)
        line.append("  ").append(_fit(text, columns.details, glyphs), "red" if state == "failed" else "dim")
    line.rstrip()
    return line


def _joined(parts: Sequence[str], columns: int, dot: str) -> str:
    """Join as many of the parts as there is room for, one at least."""
    texts = (dot.join(parts[:number]) for number in range(len(parts), 1, -1))
    return next((text for text in texts if width(text) <= columns), parts[0] if parts else "")


def _fit(text: str, columns: int, glyphs: Glyphs) -> str:
    """Cut the text to the given columns, with an ellipsis if it is cut, and pad it with spaces."""
    if width(text) > columns:
        text = set_cell_size(text, max(columns - len(glyphs.ellipsis), 0)) + glyphs.ellipsis
    return set_cell_size(text, max(columns, 0))


def _cuts(steps: Sequence[Step] | None, size: int) -> frozenset[int]:
    """Return the columns of a bar that stay empty between declared steps; none where there is no room for all."""
    weights = [step.weight for step in steps or () if step.weight is not None]
    if not steps or len(weights) < len(steps):
        return frozenset()
    cuts: list[int] = []
    for weight in accumulate(weights[:-1]):
        nearest = cuts[-1] + 2 if cuts else 1  # a step of little weight has a column too
        cuts.append(max(round(size * weight / sum(weights)), nearest))
    return frozenset(cuts) if cuts and cuts[-1] <= size - 2 else frozenset()


def _bar(percent: float | None, state: str, size: int, now: float, glyphs: Glyphs, cuts: Collection[int]) -> Text:
    """Draw a bar; one without a length, a piece that wanders while the job runs, where the percent is unknown."""
    start, end, drawn = 0, 0, ""
    if percent is not None:
        full, half = divmod(floor(size * 2 * percent / 100), 2)
        drawn = glyphs.full * full + (glyphs.half if half else "")
        end = len(drawn)
    elif state == "running":
        piece = max(size // 4, 2)
        way = size - piece
        step = floor(now * FRAMES_PER_SECOND) % (2 * way)
        start = min(step, 2 * way - step)  # there and back: 0, 1, … way, way - 1, … 1
        end = start + piece
        drawn = glyphs.rest * start + glyphs.full * piece
    drawn += glyphs.rest * (size - end)
    if percent is not None:
        drawn = "".join(" " if column in cuts else glyph for column, glyph in enumerate(drawn))
    return Text.assemble((drawn[:start], "dim"), (drawn[start:end], COLOURS[state]), (drawn[end:], "dim"))
