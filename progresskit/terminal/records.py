"""Records as texts for a terminal or a log; pure functions."""

from __future__ import annotations

import unicodedata
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

from progresskit import wording
from progresskit.progress import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from progresskit.progress import Failure, Number, Progress

COLOURS = {
    "unknown": "dim", "pending": "dim", "running": "blue", "retrying": "yellow", "stalled": "yellow",
    "cancelling": "dim", "succeeded": "green", "failed": "red", "cancelled": "dim", "stopped early": "dim",
}  # fmt: skip
_SPANS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Seen(NamedTuple):
    """A record, and when it was made (seconds of the viewer's clock); the record is None for an unknown job."""

    id: str
    progress: Progress | None = None
    at: float = 0.0


class Arrivals:
    """
    Dates records by their `updated_at`, so that an old one that is read late is counted down from when it was made.

    The clocks of two hosts may differ. The least delay of the records that came while watching is taken to be that
    difference.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, wall: Callable[[], float] = time) -> None:
        self._clock, self._wall = clock, wall
        self._difference: float | None = None

    def see(self, before: Seen, progress: Progress | None) -> Seen:
        """Return the state of a display after this record has arrived."""
        now = self._clock()
        if progress is None or progress.updated_at is None:
            return Seen(before.id, progress, now)
        delay = self._wall() - progress.updated_at.timestamp()
        # Another record than before was made a moment ago; the first one may be of any age, but not from the future.
        live = before.progress is not None and before.progress.version != progress.version
        if live or delay < 0:
            self._difference = delay if self._difference is None else min(self._difference, delay)
        return Seen(before.id, progress, now - max(delay - (self._difference or 0), 0))


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
    rate = wording.rate(progress.rate, progress.unit and harmless(progress.unit)) if going else ""
    parts += [count(progress), wording.failed_parts(progress.parts), rate]
    return [part for part in parts if part]


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


def reason(error: Failure) -> str:
    """Return the class and the text of an error, as far as they are shown."""
    return harmless(": ".join(filter(None, (error.type, error.message))))


def summary(jobs: Iterable[Seen]) -> str:
    """Return how many jobs are in which state: "3 running, 1 succeeded"."""
    counts: dict[str, int] = {}
    for seen in jobs:
        state = phase(seen.progress)
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{n} {state}" for state, n in counts.items())


def count(progress: Progress) -> str:
    """Return "5,208/12,400 rows", "18,230 files" where the total is unknown, and "" without a count."""
    current, total, unit = progress.current, progress.total, progress.unit
    if total is None:
        return _amount(current, unit) if current else ""
    before, whole = _amount(current, unit), _amount(total, unit)
    if before == whole:
        return whole
    return f"{before if unit == 'B' else _number(current)}/{whole}"


def _number(value: Number) -> str:
    return f"{value:,}" if isinstance(value, int) or value >= 1000 else f"{value:,.1f}".removesuffix(".0")


def _amount(value: Number, unit: str | None) -> str:
    if unit != "B":
        return " ".join(filter(None, (_number(value), unit and harmless(unit))))
    scaled, unit = wording.binary(value)
    return f"{int(value)} B" if unit == "B" else f"{scaled:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return the two largest units: "17s", "3m 20s", "2h 5m"."""
    rest = max(round(seconds), 0)
    parts = []
    for name, size in _SPANS:
        whole, rest = divmod(rest, size)
        if whole:
            parts.append(f"{whole}{name}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"


def harmless(text: str) -> str:
    """
    Return the text on one line, without characters that a terminal would execute instead of showing.

    Descriptions are not trusted: an escape sequence in one must not reach the viewer's terminal.
    """
    spaced = " ".join(text.split())
    return "".join(character for character in spaced if unicodedata.category(character) not in {"Cc", "Cf", "Cs"})


def width(text: str) -> int:
    """Return how many columns the text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    shown = (character for character in text if unicodedata.category(character) not in {"Mn", "Me"})
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in shown)
