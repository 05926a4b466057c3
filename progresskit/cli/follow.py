"""A file that other processes append to, read as it grows."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from .lines import LineBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

CHUNK = 256 * 1024


class Follower:
    """
    Reads the lines that are added to a file, from its present end on.

    The file may be missing at first, be truncated, and be replaced by another one under its name. It is looked at when
    `read` is called, and not in between.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        self._position = 0
        self._buffer = LineBuffer()
        if self._open():
            self._position = os.fstat(self._file).st_size

    def read(self) -> Iterator[list[bytes]]:
        """Give the lines that were added since the last call, up to this one: others may add without end."""
        if self._file >= 0 or self._open():
            yield from self._rest()
        if self._is_replaced():
            yield from self._rest()  # written after the look above, and before the other file took the place
            yield self._buffer.finish()
            os.close(self._file)
            if self._open():
                yield from self._rest()

    def finish(self) -> Iterator[list[bytes]]:
        """Give the lines that were added since the last call, and the last one also if nothing completes it."""
        yield from self.read()
        yield self._buffer.finish()

    def _open(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._file = -1
            return False
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            file = -1
        self._file, self._position = file, 0
        return file >= 0

    def _is_replaced(self) -> bool:
        if self._file < 0:
            return False
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except OSError:
            return False  # moved away: written on until there is another one

    def _rest(self) -> Iterator[list[bytes]]:
        size = os.fstat(self._file).st_size
        if size < self._position:
            self._position = 0
            self._buffer.finish()
        while self._position < size and (data := os.pread(self._file, CHUNK, self._position)):
            self._position += len(data)
            yield self._buffer.feed(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
