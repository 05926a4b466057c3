"""Records as HTML, for pages that swap in fragments (htmx); styled by classes only, so that any CSP allows them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from progresskit import wording
from progresskit.progress import State, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from progresskit.progress import Number, Progress
    from progresskit.steps import Step

# Attributes, not styles: a Content-Security-Policy may forbid these.
_SIZE = 'viewBox="0 0 100 8" preserveAspectRatio="none" width="160" height="8"'
_GAP = 1
"""Between two segments, of 100 for the whole bar."""

_SPANS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def fragment(record: Progress) -> str:
    """Return one element in one line, all text escaped."""
    before, after = _pieces(record, 0)  # as of the record: it is made once for all viewers
    return _element("div", record.id, _state(record), " ".join([*before, _bar(record), *after]))


def still(id: str, record: Progress | None, now: datetime) -> str:
    """
    Return the job's state when a page was rendered, with its age, for a page that cannot update itself.

    Without a record, the job had not been reported by then. The element may stand wherever text may.
    """
    if record is None:
        unknown = "No report when this page was loaded. Reload it for a newer state."
        return _element("span", id, "pending", _piece("label", "Waiting") + _small(unknown))
    age = (now - record.updated_at).total_seconds() if record.updated_at else 0
    before, after = (" · ".join(pieces) for pieces in _pieces(record, age))
    return _element("span", record.id, _state(record), f"{before} {_bar(record)} {after}{_small(_age(record, now))}")


def _element(tag: str, id: str, state: str, html: str) -> str:
    return f'<{tag} class="progresskit" data-job="{_text(id)}" data-state="{state}">{html}</{tag}>'


def _small(age: str) -> str:
    return f'<br><small class="progresskit-age">{age}</small>'


def _bar(record: Progress) -> str:
    steps = record.steps
    if steps and all(step.weight for step in steps):
        known = "" if record.percent is None else f' aria-valuenow="{record.percent}"'
        about = f'aria-label="{_label(record)}" aria-valuemin="0" aria-valuemax="100"{known}'
        return f'<svg class="progresskit-segments" role="progressbar" {about} {_SIZE}>{_segments(steps)}</svg>'
    known = "" if record.percent is None else f' value="{record.percent}"'
    return f'<progress max="100"{known} aria-label="{_label(record)}"></progress>'


def _segments(steps: Iterable[Step]) -> str:
    """Return a segment for each step, as wide as its weight: a light one, and one on it for what is done of it."""
    steps = [*steps]
    scale = (100 - _GAP * (len(steps) - 1)) / sum(step.weight or 0 for step in steps)
    html, left = "", 0.0
    for step in steps:
        width = (step.weight or 0) * scale
        html += _segment(step, left, width, 0.25)
        if step.percent:
            html += _segment(step, left, width * step.percent / 100, 1)
        left += width + _GAP
    return html


def _segment(step: Step, left: float, width: float, opacity: float) -> str:
    place = f'x="{left:.2f}" width="{width:.2f}" height="8"'
    return f'<rect data-state="{step.state}" {place} fill="currentColor" fill-opacity="{opacity}"></rect>'


def _pieces(record: Progress, age: float) -> tuple[list[str], list[str]]:
    """Return the texts before and after the bar; the final state of a job comes first."""
    label, state = _piece("label", _label(record)), _piece("state", _state_in_words(record))
    before, after = ([state, label], []) if record.done else ([label], [state])
    if record.state is not State.SUCCEEDED and (step := wording.step(record.step, record.steps)):
        after.append(_piece("step", _text(step)))
    after.append(_piece("count", _text(count(record))))
    if failed := wording.failed_parts(record.parts):
        after.append(_piece("failed", failed))
    if record.percent is not None:
        after.append(_piece("percent", f"{int(record.percent)} %"))
    if record.state is State.RUNNING and not record.stalled:
        for name, text in ("rate", wording.rate(record.rate, record.unit)), ("left", _left(record, age)):
            if text:
                after.append(_piece(name, _text(text)))
    if record.error is not None:
        after.append(_piece("error", _text(record.error.message or record.error.type)))
    return before, after


def _left(record: Progress, age: float) -> str:
    return "" if record.eta is None else wording.time_left(record.eta - max(age, 0))


def _label(record: Progress) -> str:
    return _text(record.description or ("stopped early" if record.stopped_early else _state(record)))


def _piece(name: str, html: str) -> str:
    return f'<span class="progresskit-{name}">{html}</span>'


def _state(record: Progress) -> str:
    return "stalled" if record.stalled else record.state.value


def _state_in_words(record: Progress) -> str:
    if record.stopped_early:
        return "stopped early"
    if record.stalled and record.updated_at is not None:
        return f"stalled, last report {_time(record.updated_at, f'{record.updated_at:%Y-%m-%d %H:%M:%S} UTC')}"
    return _state(record)


def _age(record: Progress, now: datetime) -> str:
    at = (record.finished_at if record.done else None) or record.updated_at
    if at is None:
        return "Reload the page for a newer state."
    age = f"{_time(at, _span((now - at).total_seconds()))} before this page was loaded."
    return f"Ended {age}" if record.done else f"Last report {age} Reload it for a newer state."


def _time(at: datetime, text: str) -> str:
    return f'<time datetime="{format_time(at)}">{text}</time>'


def _span(seconds: float) -> str:
    for name, size in _SPANS:
        if seconds >= size:
            whole = int(seconds // size)
            return f"{whole} {name}" if whole == 1 else f"{whole} {name}s"
    return "a moment"


def count(record: Progress) -> str:
    """Return "3 of 10 rows", or "1.2 MiB of 4.0 MiB" for bytes."""
    if record.total is None:
        return _amount(record.current, record.unit)
    return f"{_amount(record.current, record.unit, bare=True)} of {_amount(record.total, record.unit)}"


def _amount(value: Number, unit: str | None, bare: bool = False) -> str:
    if unit != "B":
        number = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
        return number if bare or not unit else f"{number} {unit}"
    scaled, size = wording.binary(value)
    return f"{int(value)} B" if size == "B" else f"{scaled:.1f} {size}"


def _text(text: str) -> str:
    return escape(" ".join(text.split()))
