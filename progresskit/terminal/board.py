"""
The bars that the processes of a family draw in one terminal, and the file in which they keep them.

The processes of a prefork pool share the terminal of their worker, and each has jobs of its own. Each process puts its
lines on the board, and the one that draws next draws the lines of all. The board is a file without a name that forked
processes inherit.

The lines are below the cursor, which stays where the next text is written. So text of other code, also without a
newline and of other processes, is never torn. No bar is drawn in the row of the cursor: a line that is written there
unnoticed does not end in a bar.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST = 1 << 20
"""The most bytes of the file that are read."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SAVE, _RESTORE = "\x1b7", "\x1b8"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"
_INDEX = "\x1bD"
"""Moves the cursor to the next row, in the same column; the screen is scrolled at its end."""


class Entry(NamedTuple):
    """The lines of one process."""

    longest: int
    """The width of the longest label."""
    lines: list[str]


class Board:
    """The lines of all processes by their ids, and what is on the screen."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.lines: list[str] = []
        """The lines that are on the screen."""
        self.depth = 0
        """How many rows they are below the cursor."""
        self.drawn_at = 0.0
        """In seconds of the clock that all processes share."""
        self.is_midline = False
        """The text above has not ended with a newline."""

    @classmethod
    def decode(cls, text: bytes) -> Board:
        """Return the board of a file; an empty one where the file holds none."""
        board = cls()
        try:
            # Behind the newline is the rest of a longer text, of a process that was killed while it wrote.
            entries, board.lines, board.depth, board.drawn_at, board.is_midline = json.loads(text.partition(b"\n")[0])
            board.entries = {int(pid): Entry(*entry) for pid, entry in entries.items()}
        except (ValueError, TypeError, AttributeError):
            return cls()
        return board

    def encode(self) -> bytes:
        """Return the text of the file; none for an empty board."""
        if not (self.entries or self.lines):
            return b""
        return f"{json.dumps((self.entries, self.lines, self.depth, self.drawn_at, self.is_midline))}\n".encode()

    def prune(self) -> None:
        """Remove the lines of processes that have ended."""
        self.entries = {pid: entry for pid, entry in self.entries.items() if _is_alive(pid)}

    def longest(self, pid: int) -> int:
        """Return the width of the longest label of other processes than this one."""
        return max((entry.longest for other, entry in self.entries.items() if other != pid), default=0)

    def combined(self, rows: int) -> list[str]:
        """Return the lines of all processes, cut to the rows that there are."""
        lines = [line for entry in self.entries.values() for line in entry.lines]
        if len(lines) <= rows:
            return lines
        return [*lines[: rows - 1], f"  and {len(lines) - rows + 1} more"] if rows > 0 else []

    def change(self, lines: list[str], depth: int, text: str = "") -> str:
        """Return the text that draws these lines in place of the lines on the screen, below `text`, which stays."""
        has_to_move = bool(text) or depth != self.depth or not lines
        written = f"{_SAVE}{_down(self.depth)}{_CLEAR_BELOW}{_RESTORE}" if self.lines and has_to_move else ""
        if text:
            written += self._rest_of_row_erased() + text
            self.is_midline = ends_midline(text, self.is_midline)
        if lines:
            written += self._rest_of_row_erased() + _drawn(lines, depth)
        self.lines, self.depth = lines, depth
        return written

    def _rest_of_row_erased(self) -> str:
        """Return the text that erases a bar in the row of the cursor: a process has written without the board."""
        return "" if self.is_midline else _CLEAR_LINE


def ends_midline(text: str, was_midline: bool) -> bool:
    """Return whether the cursor is behind other text on its row after this text was written."""
    visible = _CONTROL.sub("", text)
    return not visible.endswith("\n") if visible else was_midline


def _drawn(lines: list[str], depth: int) -> str:
    """Return the text that draws the lines over the present ones, the first line `depth` rows below the cursor."""
    rows = depth + len(lines) - 1
    room = f"{_INDEX * rows}\x1b[{rows}A"
    text = f"{_CLEAR_LINE}\r\n".join(lines)
    return f"{room}{_SAVE}{_down(depth)}{text}{_CLEAR_BELOW}{_RESTORE}"


def _down(rows: int) -> str:
    return f"\x1b[{rows}B\r"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


class SharedBoard:
    """The board of a process and of those that are forked from it; of it alone where there can be no file."""

    def __init__(self) -> None:
        self._own = Board()
        try:
            self._file, path = tempfile.mkstemp(prefix="progresskit-")
            os.unlink(path)
            self._inode = os.fstat(self._file).st_ino
            self._is_usable = True
        except OSError:
            self._is_usable = False

    def after_fork_in_child(self) -> None:
        """Forget the board of the process that this one was forked from."""
        self._own = Board()

    @contextmanager
    def locked(self, seconds: float, *, create: bool) -> Iterator[Board | None]:
        """Give the board, to be changed in the block; None where there is none, or others hold it for these seconds."""
        size = self._size()
        if size is None:
            yield self._own
            return
        if not size and not create:
            yield None  # without a turn, which costs more than all else
            return
        if not self._lock(seconds):
            yield None
            return
        try:
            board = Board.decode(os.pread(self._file, _LARGEST, 0))
            board.prune()
            yield board
            text = board.encode()
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _size(self) -> int | None:
        """Return the size of the file; None once it is closed, as by a daemon: its number may be that of another."""
        if not self._is_usable:
            return None
        try:
            found = os.fstat(self._file)
        except OSError:
            self._is_usable = False
            return None
        self._is_usable = found.st_ino == self._inode and not found.st_nlink
        return found.st_size if self._is_usable else None

    def _lock(self, seconds: float) -> bool:
        deadline = monotonic() + seconds
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                if monotonic() >= deadline:
                    return False
                sleep(0.001)
            else:
                return True
