"""Records as HTML, for pages that swap in what the server sends (htmx); classes only, so that any CSP allows it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from progresskit.progress import Number, Progress

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def fragment(record: Progress) -> str:
    """Return one element in one line, all text escaped."""
    state = "stalled" if record.stalled else record.state.value
    said = "stopped early" if record.stopped_early else state
    label = _text(record.description or said)
    known = "" if record.percent is None else f' value="{record.percent}"'
    parts = [
        f'<span class="progresskit-label">{label}</span>',
        f'<progress max="100"{known} aria-label="{label}"></progress>',
        f'<span class="progresskit-state">{said}</span>',
        f'<span class="progresskit-count">{_text(count(record))}</span>',
    ]
    if record.percent is not None:
        parts.append(f'<span class="progresskit-percent">{int(record.percent)} %</span>')
    if record.error is not None:
        error = ": ".join(filter(None, (record.error.type, record.error.message)))
        parts.append(f'<span class="progresskit-error">{_text(error)}</span>')
    return f'<div class="progresskit" data-job="{_text(record.id)}" data-state="{state}">{" ".join(parts)}</div>'


def count(record: Progress) -> str:
    """Return "3 of 10 rows", or "1.2 MiB of 4.0 MiB" for bytes."""
    if record.total is None:
        return _amount(record.current, record.unit)
    return f"{_amount(record.current, record.unit, bare=True)} of {_amount(record.total, record.unit)}"


def _amount(value: Number, unit: str | None, bare: bool = False) -> str:
    if unit != "B":
        number = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
        return number if bare or not unit else f"{number} {unit}"
    power = min(max(int(value).bit_length() - 1, 0) // 10, len(_BYTES) - 1)
    return f"{value / 1024**power:.1f} {_BYTES[power]}" if power else f"{int(value)} B"


def _text(text: str) -> str:
    return escape(" ".join(text.split()))
