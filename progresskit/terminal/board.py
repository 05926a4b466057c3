"""
The bars that several processes draw in one terminal, and the file in which they keep them.

The processes of a prefork pool share the terminal of their worker, and each has jobs of its own. Each process puts its
lines on the board, and the one that draws next draws the lines of all.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from . import region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXPIRY_SECONDS = 10.0
"""The lines of a process that was not heard of for this time are removed."""

LARGEST = 1 << 20
"""The most bytes of the file that are read."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Entry(NamedTuple):
    """The lines of one process."""

    at: float
    """When it was made, in seconds of the clock that all processes share."""
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
        """Return the text of the file."""
        return f"{json.dumps((self.entries, self.lines, self.depth, self.drawn_at, self.is_midline))}\n".encode()

    @property
    def is_empty(self) -> bool:
        """True where no process has a line, and no line is on the screen."""
        return not (self.entries or self.lines)

    def prune(self, now: float) -> None:
        """Remove the lines of processes that have ended."""
        if self.drawn_at > now + EXPIRY_SECONDS:  # a file that is older than the start of the machine
            self.entries, self.lines = {}, []
        for pid, entry in [*self.entries.items()]:
            if now - entry.at > EXPIRY_SECONDS or not _is_alive(pid):
                del self.entries[pid]

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
        written = region.erased(self.depth) if self.lines and has_to_move else ""
        if text:
            written += self._rest_of_row_erased() + text
            self.is_midline = ends_midline(text, self.is_midline)
        if lines:
            written += self._rest_of_row_erased() + region.drawn(lines, depth)
        self.lines, self.depth = lines, depth
        return written

    def _rest_of_row_erased(self) -> str:
        """Return the text that erases a bar in the row of the cursor: a process has written without the board."""
        return "" if self.is_midline else region.rest_of_row_erased()


def ends_midline(text: str, was_midline: bool) -> bool:
    """Return whether the cursor is behind other text on its row after this text was written."""
    visible = _CONTROL.sub("", text)
    return not visible.endswith("\n") if visible else was_midline


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


class BoardFile:
    """The file of a terminal's board, for the processes of one user; it exists while there are lines."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None
        self.is_usable = True
        """False where there can be no such file."""

    def lock(self, seconds: float, *, create: bool) -> bool:
        """Lock the file for this process; return False where there is none, or others hold it for these seconds."""
        deadline = monotonic() + seconds
        while self._file is not None or self._open(create):
            assert self._file is not None
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                if monotonic() >= deadline:
                    return False
                sleep(0.001)
            except OSError:
                return False
            else:
                if os.fstat(self._file).st_nlink:
                    return True
                self._close()  # another process has removed it meanwhile
        return False

    def unlock(self) -> None:
        """Let other processes lock the file."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def read(self) -> Board:
        """Return the board in the locked file."""
        assert self._file is not None
        return Board.decode(os.pread(self._file, LARGEST, 0))

    def write(self, board: Board) -> None:
        """Store the board in the locked file, or remove the file of an empty board."""
        assert self._file is not None
        if board.is_empty:
            with suppress(OSError):
                os.unlink(self._path)
            self._close()
            return
        text = board.encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def _open(self, create: bool) -> bool:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            file = os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            self.is_usable = self.is_usable and not create
            return False
        except OSError:
            self.is_usable = False
            return False
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            os.close(file)  # another user has put it there: the folder may be open to all
            self.is_usable = False
            return False
        self._file = file
        return True

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)


class SharedBoard:
    """The board of a terminal: the one in its file, or one of this process alone where there can be no file."""

    def __init__(self, device: int | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._file = None if device is None else BoardFile(_path_of(device))
        self._own = Board()

    def after_fork_in_child(self) -> None:
        """Forget the board of the process that this one was forked from."""
        self._own = Board()

    @contextmanager
    def locked(self, seconds: float, *, create: bool) -> Iterator[Board | None]:
        """Give the board, to be changed in the block; None where there is none, or others hold it for these seconds."""
        file = self._file
        if file is None or not file.is_usable:
            self._own.prune(self._clock())
            yield self._own
            return
        if not file.lock(seconds, create=create):
            yield None
            return
        try:
            board = file.read()
            board.prune(self._clock())
            yield board
            file.write(board)
        finally:
            file.unlock()


def _path_of(device: int) -> str:
    """Return the path of the file for a terminal, by its device number."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("TMPDIR") or "/tmp"
    return os.path.join(folder, f"progresskit-{os.geteuid()}-{device:x}.terminal")
