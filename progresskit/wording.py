"""How rates, times and steps are written for people, in English; pure functions. The component has the same rules."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .parts import Parts
    from .steps import Step

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_PER = (("s", 1), ("min", _MINUTE), ("h", _HOUR))


def time_left(seconds: float | None) -> str:
    """
    Return "about 20 seconds left"; "" where the time is unknown, or less than a second.

    The text is as precise as an estimate can be, and less time never gives a text of more.
    """
    if seconds is None or seconds < 1:
        return ""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 55:
        return f"about {_nearest(seconds, 5 if seconds < 20 else 10)} seconds left"
    if seconds < 1.5 * _MINUTE:
        return "about a minute left"
    if seconds < 55 * _MINUTE:
        return f"about {_nearest(seconds / _MINUTE)} minutes left"
    if seconds < 1.5 * _HOUR:
        return "about an hour left"
    if seconds < 23.5 * _HOUR:
        return f"about {_nearest(seconds / _HOUR)} hours left"
    if seconds < 1.5 * _DAY:
        return "about a day left"
    return f"about {_nearest(seconds / _DAY):,} days left"


def rate(per_second: float | None, unit: str | None) -> str:
    """Return "412 rows/s", "2.5 rows/min" for slow jobs, "36.3 MiB/s" for bytes; "" where the rate is unknown."""
    if not per_second:
        return ""
    per, seconds = next(((per, seconds) for per, seconds in _PER if per_second * seconds >= 1), _PER[-1])
    value = per_second * seconds
    if unit == "B":
        value, unit = binary(value)
    return f"{_three_digits(value)}{' ' if unit else ''}{unit or ''}/{per}"


def step(number: int | None, steps: Sequence[Step] | None) -> str:
    """
    Return "step 2 of 3: Parse", or "step 2: Parse" where it is not known how many there are.

    For loops, which have no names, it is "step 2" from the second one on; "" for a job without steps.
    """
    if number is None:
        return ""
    if not steps or number > len(steps):
        return f"step {number:,}" if number > 1 else ""
    current = steps[number - 1]
    return f"step {number}{'' if current.weight is None else f' of {len(steps)}'}: {current.name}"


def failed_parts(parts: Parts | None) -> str:
    """Return "2 failed" for a job of which parts have failed, else ""."""
    return f"{parts.failed:,} failed" if parts is not None and parts.failed else ""


def binary(value: float) -> tuple[float, str]:
    """Return a number of bytes as a number of the largest binary unit that it has at least one of, and that unit."""
    power = min(max(int(value).bit_length() - 1, 0) // 10, len(_BYTES) - 1)
    return value / 1024**power, _BYTES[power]


def _nearest(value: float, step: int = 1) -> int:
    return floor(value / step + 0.5) * step


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0") if "e" in text else text
