"""The standard output of a command, passed through while lines of it are read."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import tty
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from .lines import LineBuffer

if TYPE_CHECKING:
    from .lines import LineReports

CHUNK = 256 * 1024


class Output:
    """
    Passes the output of a command through, byte for byte.

    It is a terminal to the command where it is one here. `command_end` is to be its standard output.
    """

    def __init__(self) -> None:
        self._is_terminal = os.isatty(1)
        if self._is_terminal:
            self._ours, self.command_end = os.openpty()
            _copy_modes(1, self.command_end)
            self._size = b""
            self.resize()
        else:
            self._ours, self.command_end = os.pipe()
        self._thread: Thread | None = None

    def start(self, reports: LineReports) -> None:
        """Pass output through, in a thread of its own, and give its lines to `reports`."""
        os.close(self.command_end)
        self._thread = Thread(target=self._pass, args=(reports,), name="progresskit-output", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """True once all processes of the command have closed the output, and all of it was passed through."""
        return self._thread is None or not self._thread.is_alive()

    def resize(self) -> bool:
        """Give the command's terminal the size of the one here; return whether it has changed."""
        if not self._is_terminal:
            return False
        size = fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(struct.calcsize("HHHH")))
        changed = size != self._size
        if changed:
            self._size = size
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)
        return changed

    def _pass(self, reports: LineReports) -> None:
        lines = LineBuffer()
        with suppress(OSError):  # the end of a terminal; or the output has no reader here, so the command's has none
            while data := os.read(self._ours, CHUNK):
                _write(data)
                reports.pick(lines.feed(data))
        os.close(self._ours)
        reports.pick(lines.finish())


def _copy_modes(terminal: int, other: int) -> None:
    modes = termios.tcgetattr(terminal)
    modes[tty.OFLAG] &= ~termios.OPOST  # or each line end would be converted twice
    termios.tcsetattr(other, termios.TCSANOW, modes)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(1, rest) :]
        except BlockingIOError:  # a parent process has made it so
            _wait_until_writable()


def _wait_until_writable() -> None:
    from select import select

    select([], [1], [])
