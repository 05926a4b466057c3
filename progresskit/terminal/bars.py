"""Records as lines of a terminal: a bar for each job, in columns that stand below each other. Pure."""

from __future__ import annotations

from itertools import accumulate
from math import floor
from typing import TYPE_CHECKING, NamedTuple

from progresskit import wording
from progresskit.progress import State

from .text import count, duration, fit, harmless, rate, width

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from progresskit.progress import Failure, Progress
    from progresskit.steps import Step

    from .console import Console

COLOURS = {
    "unknown": "dim", "pending": "dim", "running": "blue", "retrying": "yellow", "stalled": "yellow",
    "cancelling": "dim", "succeeded": "green", "failed": "red", "cancelled": "dim", "stopped early": "dim",
}  # fmt: skip
_WAITING = frozenset(("unknown", "pending"))

FRAMES_PER_SECOND = 10
_NARROWEST_BAR, _WIDEST_BAR = 8, 40


class Seen(NamedTuple):
    """A record, and when it was made (seconds of the viewer's clock); the record is None for an unknown job."""

    id: str
    progress: Progress | None = None
    at: float = 0.0


class _Columns(NamedTuple):
    label: int
    bar: int
    details: int


def phase(progress: Progress | None) -> str:
    """Return the state as a viewer sees it; so are `stalled`, `cancelling`, `stopped early` and `unknown`."""
    if progress is None:
        return "unknown"
    if progress.stopped_early:
        return "stopped early"
    if progress.done:
        return progress.state.value
    if progress.stalled:
        return "stalled"
    return "cancelling" if progress.cancel_requested else progress.state.value


def label(seen: Seen) -> str:
    """Return the label of a job: its description, if there is one."""
    description = seen.progress.description if seen.progress else None
    return harmless(description or "") or seen.id


def details(progress: Progress | None, age: float) -> list[str]:
    """Return the details that the bar does not show, most important first; `age` is that of the record in seconds."""
    if progress is None:
        return ["waiting for the first report"]
    return [text for text in (_status(progress, age), *measures(progress, age)) if text]


def measures(progress: Progress, age: float) -> list[str]:
    """Return the details but the state: how far the job is, and how fast."""
    parts = []
    if progress.attempt > 1 and not progress.done:
        parts.append(f"attempt {progress.attempt}")
    if progress.state is not State.SUCCEEDED:
        parts.append(harmless(wording.step(progress.step, progress.steps)))
    going = phase(progress) in {"running", "cancelling"}
    if going and progress.eta is not None:
        # Counted down here: the job may not report for a while.
        parts.append(wording.time_left(progress.eta - age))
    parts += [count(progress), wording.failed_parts(progress.parts), rate(progress) if going else ""]
    return [part for part in parts if part]


def joined(parts: Sequence[str], columns: int, dot: str) -> str:
    """Join as many of the parts as there is room for, one at least."""
    for number in range(len(parts), 1, -1):
        text = dot.join(parts[:number])
        if width(text) <= columns:
            return text
    return parts[0] if parts else ""


def reason(error: Failure) -> str:
    """Return the class and the text of an error, as far as they are shown."""
    return harmless(": ".join(filter(None, (error.type, error.message))))


def _status(progress: Progress, age: float) -> str:
    state = phase(progress)
    if state == "running":
        return ""
    if state == "failed" and progress.error is not None:
        return ": ".join(filter(None, ("failed", reason(progress.error))))
    if state == "succeeded" and progress.started_at and progress.finished_at:
        return f"done in {duration((progress.finished_at - progress.started_at).total_seconds())}"
    if state == "retrying" and progress.next_retry_at and progress.updated_at:
        wait = (progress.next_retry_at - progress.updated_at).total_seconds() - age
        return f"retrying in {duration(wait)}"
    return {"pending": "waiting for a worker", "succeeded": "done"}.get(state, state)


def frame(jobs: Collection[Seen], size: tuple[int, int], now: float, console: Console, longest: int = 0) -> list[str]:
    """
    Return a line for each job that has room in these columns and lines, and one about the others.

    Jobs that are not done go before others; in the end all are shown. `longest` is as for `draw`.
    """
    columns, lines = size
    shown = _chosen(jobs, lines)
    drawn = draw(shown, columns, now, console, longest)
    if len(shown) < len(jobs):
        left = [seen for seen in jobs if seen not in shown]
        drawn.append(console.paint(fit(f"  and {summary(left)}", columns), "dim"))
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


def draw(jobs: Collection[Seen], columns: int, now: float, console: Console, longest: int = 0) -> list[str]:
    """Return a line for each job, none wider than `columns`; `longest` is the width of a label that others have."""
    lines = _columns(max(longest, longest_label(jobs)), columns)
    return [_draw_one(seen, lines, now, console) for seen in jobs]


def _columns(longest: int, columns: int) -> _Columns:
    room = columns - 2
    bar = min(max(room // 4, _NARROWEST_BAR), _WIDEST_BAR) if room >= 40 else 0
    rest = room - (bar + 2 + 6 if bar else 6)
    wanted = min(longest, max(rest // 2, 12))
    return _Columns(min(wanted, rest), bar, max(rest - wanted - 2, 0))


def _draw_one(seen: Seen, columns: _Columns, now: float, console: Console) -> str:
    progress, glyphs = seen.progress, console.glyphs
    state = phase(progress)
    colour = COLOURS[state]
    sign = glyphs.states[state]
    if state == "running":
        sign = glyphs.spinner[floor(now * FRAMES_PER_SECOND) % len(glyphs.spinner)]
    percent = None if progress is None or state in _WAITING else progress.percent
    parts = [
        console.paint(sign, colour),
        " ",
        console.paint(fit(label(seen), columns.label, glyphs.ellipsis), *(("dim",) if state in _WAITING else ())),
    ]
    if columns.bar:
        parts += [
            "  ",
            _bar(percent, state, columns.bar, now, console, _cuts(progress.steps if progress else None, columns.bar)),
        ]
    parts.append(f"{'' if percent is None else f'{floor(percent)}%':>6}")
    if columns.details > 3:
        text = joined(details(progress, now - seen.at), columns.details, glyphs.dot)
        text = fit(text, columns.details, glyphs.ellipsis).rstrip()
        parts += ["  ", console.paint(text, "red" if state == "failed" else "dim")]
    return "".join(parts).rstrip()


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


def _bar(
    percent: float | None, state: str, size: int, now: float, console: Console, cuts: frozenset[int] = frozenset()
) -> str:
    glyphs = console.glyphs
    if percent is None:
        return _vague_bar(state, size, now, console)
    halves = floor(size * 2 * percent / 100)
    full, half = divmod(halves, 2)
    drawn = glyphs.full * full + (glyphs.half if half else "")
    end = len(drawn)
    drawn += glyphs.rest * (size - end)
    drawn = "".join(" " if column in cuts else glyph for column, glyph in enumerate(drawn))
    return console.paint(drawn[:end], COLOURS[state]) + console.paint(drawn[end:], "dim")


def _vague_bar(state: str, size: int, now: float, console: Console) -> str:
    """Draw a bar without a length: a piece that wanders while the job runs."""
    glyphs = console.glyphs
    if state != "running":
        return console.paint(glyphs.rest * size, "dim")
    piece = max(size // 4, 2)
    way = size - piece
    # There and back: 0, 1, … way, way - 1, … 1.
    step = floor(now * FRAMES_PER_SECOND) % (2 * way)
    at = min(step, 2 * way - step)
    before, after = glyphs.rest * at, glyphs.rest * (way - at)
    return console.paint(before, "dim") + console.paint(glyphs.full * piece, "blue") + console.paint(after, "dim")


def summary(jobs: Iterable[Seen]) -> str:
    """Return how many jobs are in which state: "3 running, 1 succeeded"."""
    counts: dict[str, int] = {}
    for seen in jobs:
        state = phase(seen.progress)
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{n} {state}" for state, n in counts.items())
