"""
Lines below the cursor of a terminal; the cursor stays where the next text is written. Pure.

So text of other code, also without a newline and of other processes, is never torn. No bar is drawn in the row of the
cursor: a line that is written there unnoticed does not end in a bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAVE, _RESTORE = "\x1b7", "\x1b8"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"
_INDEX = "\x1bD"
"""Moves the cursor to the next row, in the same column; the screen is scrolled at its end."""


def drawn(lines: Sequence[str], depth: int) -> str:
    """Return the text that draws the lines over the present ones, the first line `depth` rows below the cursor."""
    rows = depth + len(lines) - 1
    room = f"{_INDEX * rows}\x1b[{rows}A"
    text = f"{_CLEAR_LINE}\r\n".join(lines)
    return f"{room}{_SAVE}{_down(depth)}{text}{_CLEAR_BELOW}{_RESTORE}"


def erased(depth: int) -> str:
    """Return the text that erases all rows from the row `depth` rows below the cursor."""
    return f"{_SAVE}{_down(depth)}{_CLEAR_BELOW}{_RESTORE}"


def rest_of_row_erased() -> str:
    """Return the text that erases the row behind the cursor."""
    return _CLEAR_LINE


def _down(rows: int) -> str:
    return f"\x1b[{rows}B\r"
