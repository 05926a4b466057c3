"""How counts, times and foreign text are written in a terminal; pure functions."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from progresskit import wording

if TYPE_CHECKING:
    from progresskit.progress import Number, Progress

_SPANS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


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
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int, ellipsis: str = "…") -> str:
    """Cut the text to the given columns, with an ellipsis if it is cut, and pad it with spaces."""
    taken = width(text)
    if taken > columns:
        room = columns - width(ellipsis)
        kept, taken = "", 0
        for character in text:
            if taken + _columns(character) > room:
                break
            kept += character
            taken += _columns(character)
        text = (kept + ellipsis)[: max(columns, 0)]
        taken = width(text)
    return text + " " * (columns - taken)


def number(value: Number) -> str:
    """Return "12,400", and "3.5" for a number that is not whole."""
    return f"{value:,}" if isinstance(value, int) or value >= 1000 else f"{value:,.1f}".removesuffix(".0")


def amount(value: Number, unit: str | None) -> str:
    """Return "12,400 rows", or "1.2 MiB" where the unit is bytes."""
    if unit != "B":
        return " ".join(filter(None, (number(value), unit and harmless(unit))))
    scaled, unit = wording.binary(value)
    return f"{int(value)} B" if unit == "B" else f"{scaled:.1f} {unit}"


def count(progress: Progress) -> str:
    """Return "5,208/12,400 rows", "18,230 files" where the total is unknown, and "" without a count."""
    current, total, unit = progress.current, progress.total, progress.unit
    if total is None:
        return amount(current, unit) if current else ""
    before, whole = amount(current, unit), amount(total, unit)
    if before == whole:
        return whole
    return f"{before if unit == 'B' else number(current)}/{whole}"


def rate(progress: Progress) -> str:
    """Return "412 rows/s", and "" where the rate is unknown."""
    return wording.rate(progress.rate, progress.unit and harmless(progress.unit))


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
