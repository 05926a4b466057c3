"""A few lines at the end of a terminal that are drawn again and again in place."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING, Self

from .text import width

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

    from .console import Console

_PAINT = re.compile(r"\x1b\[[0-9;]*m")
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class Screen:
    """Draws in place between entering and leaving; the last frame stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn: list[int] = []
        self._columns = 0

    def draw(self, lines: Iterable[str], above: Iterable[str] = ()) -> None:
        """Replace the last frame; `above` is written on top of it and stays there."""
        shown = list(lines)
        columns, _ = self._console.size
        # A terminal that was made narrower has broken lines in two: more lines must be cleared.
        rows = sum(max(-(-taken // columns), 1) for taken in self._drawn)
        back = f"\r\x1b[{rows}A" if rows else ""
        clear = _CLEAR_BELOW if columns != self._columns and rows else ""
        text = "".join(f"{line}{_CLEAR_LINE}\n" for line in (*above, *shown))
        self._console.write(f"{back}{clear}{text}{_CLEAR_BELOW if rows else ''}")
        self._drawn = [width(_PAINT.sub("", line)) for line in shown]
        self._columns = columns

    def __enter__(self) -> Self:
        # Without this a `kill` would leave the terminal without a cursor.
        self._before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
        self._console.write(_HIDE_CURSOR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._console.write(_SHOW_CURSOR)
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
