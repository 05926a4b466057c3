"""
Counts that several processes add to, in files that they share with the process of a job.

Each child maps a file of its own and adds to it in place: the count is in the page cache of the system at once, where
the parent reads it, also after the child was killed. A child that ends normally marks its file as finished, and the
parent takes over the count and removes the file, so that a pool which replaces its children does not fill the folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from mmap import mmap
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Lock
from time import monotonic_ns
from typing import TYPE_CHECKING
from weakref import finalize

from .validation import DESCRIPTION_LENGTH, LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 4096
_WHOLE, _FRACTION, _FINISHED, _VERSION, _TIME, _LENGTH = range(6)
"""The places of the words of a page: a sum of ints and one of floats, and the state of the text behind them."""
_CANCELLED = 0
"""The place of the word of the job's own page, which is 1 once the job was asked to stop."""
_TEXT = 64
"""Where the text begins, in bytes."""
_OF_JOB = "job"


class _Page:
    """One file, mapped: its words, of eight bytes each, are stored and loaded as a whole."""

    __slots__ = ("_map", "bytes", "floats", "path", "words")

    def __init__(self, path: Path, *, new: bool = False) -> None:
        """Map a file, or a new one. Raises OSError, and ValueError for one that is not complete yet."""
        self.path = path
        file = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if new else 0) | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if new:
                os.write(file, bytes(_SIZE))  # not truncated to its size: on a full disk, a store would be fatal
            self._map = mmap(file, _SIZE)
        finally:
            os.close(file)
        self.bytes = memoryview(self._map)
        self.words, self.floats = self.bytes.cast("q"), self.bytes.cast("d")

    @property
    def count(self) -> float:
        """The sum of what was added."""
        return self.words[_WHOLE] + (self.floats[_FRACTION] or 0)

    def write_text(self, text: bytes) -> None:
        """Store a text; its version is odd meanwhile."""
        words = self.words
        words[_VERSION] += 1
        self.bytes[_TEXT : _TEXT + len(text)] = text
        words[_LENGTH], words[_TIME] = len(text), monotonic_ns()
        words[_VERSION] += 1

    def read_text(self) -> tuple[int, int, str] | None:
        """Return the version of the text, when it was written, and the text; None while it is being written."""
        words = self.words
        version, time, length = words[_VERSION], words[_TIME], words[_LENGTH]
        text = bytes(self.bytes[_TEXT : _TEXT + length])
        if version % 2 or version != words[_VERSION]:
            return None
        return version, time, text.decode(errors="replace")

    def close(self) -> None:
        """Let go of the file."""
        for view in (self.words, self.floats, self.bytes):
            view.release()
        self._map.close()


class SharedCounts:
    """
    The counts of all children, in the parent, which owns the folder of their files.

    For one thread at a time. Raises OSError where the folder cannot be made.
    """

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="progresskit-"))
        self._remove = finalize(self, _remove, self.folder, os.getpid())
        self._job = _Page(self.folder / _OF_JOB, new=True)
        self._children: dict[str, _Page] = {}
        self._versions: dict[str, int] = {}
        self._finished: float = 0
        self._restarted: float = 0
        self._text: str | None = None

    def done(self) -> float:
        """Return how much the children have counted since the last restart."""
        return self._sum() - self._restarted

    def restart(self) -> None:
        """Begin at 0 again."""
        self._restarted = self._sum()

    def take_text(self) -> str | None:
        """Return the newest text, once; None where there is no new one."""
        self._read_texts()
        text, self._text = self._text, None
        return text

    def stop(self) -> None:
        """Let the children know that the job was asked to stop."""
        if self._remove.alive:
            self._job.words[_CANCELLED] = 1

    def close(self) -> float:
        """Return how much the children have counted, for the last time, and remove the folder."""
        done = self.done()
        self._read_texts()
        for page in (self._job, *self._children.values()):
            page.close()
        self._children.clear()
        self._remove()
        return done

    def _sum(self) -> float:
        self._find()
        for name, page in list(self._children.items()):
            if page.words[_FINISHED]:
                self._take_over(name, page)
        return self._finished + sum(page.count for page in self._children.values())

    def _find(self) -> None:
        for name in self._names():
            if name not in self._children and name != _OF_JOB:
                try:
                    self._children[name] = _Page(self.folder / name)
                except (OSError, ValueError):
                    continue  # it is being made: the next look finds it

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder) if self._remove.alive else []
        except OSError:
            return []  # the folder was removed by others: pages that are mapped can be read on

    def _take_over(self, name: str, page: _Page) -> None:
        self._read_texts()
        self._finished += page.count
        del self._children[name]
        self._versions.pop(name, None)
        page.close()
        with suppress(OSError):  # on Windows, while the child has it
            page.path.unlink()

    def _read_texts(self) -> None:
        new = sorted(self._new_texts())
        if new:
            self._text = new[-1][1]

    def _new_texts(self) -> Iterator[tuple[int, str]]:
        for name, page in self._children.items():
            read = page.read_text() if page.words[_VERSION] != self._versions.get(name, 0) else None
            if read is not None:
                self._versions[name], time, text = read
                yield time, text


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not a child that was forked
        rmtree(folder, ignore_errors=True)


class SharedCount:
    """
    The count of one child, which any of its threads may add to.

    A process that the child forks has a count of its own. Where the files cannot be reached, which is logged unless the
    job has ended, nothing is counted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._page: _Page | None = None
        self._is_lost = False
        job = self._try(folder / _OF_JOB)
        self.cancelled: memoryview | bytes = bytes(1) if job is None else job.words[_CANCELLED : _CANCELLED + 1]
        """One item, which is 1 once the job was asked to stop."""

    def add(self, n: float) -> None:
        """Add to the count, which a negative number lowers."""
        with self._lock:
            page = self._page or self._open()
            if page is None:
                return
            if type(n) is int:
                page.words[_WHOLE] = max(min(page.words[_WHOLE] + n, LIMIT), -LIMIT)
            else:
                page.floats[_FRACTION] = max(min(page.floats[_FRACTION] + n, LIMIT), -LIMIT)

    def describe(self, text: str) -> None:
        """Store a text for the job."""
        # One character more than is shown: by it the parent sees that the text has to be cut.
        cut = text[: DESCRIPTION_LENGTH + 1].encode(errors="replace")
        with self._lock:
            page = self._page or self._open()
            if page is not None:
                page.write_text(cut)

    def finish(self) -> None:
        """Mark the file as finished; another one is made if the child goes on counting."""
        with self._lock:
            if self._page is not None:
                self._page.words[_FINISHED] = 1
                self._page = None

    def restart(self) -> None:
        """Begin with a file of its own, in a forked child, where the lock may be held for ever."""
        self._lock, self._page = Lock(), None

    def _open(self) -> _Page | None:
        if not self._is_lost:
            self._page = self._try(self.folder / f"{os.getpid()}-{os.urandom(8).hex()}", new=True)
        return self._page

    def _try(self, path: Path, *, new: bool = False) -> _Page | None:
        try:
            return _Page(path, new=new)
        except FileNotFoundError:
            self._is_lost = True  # the job has ended
        except (OSError, ValueError) as problem:
            from logging import getLogger

            self._is_lost = True
            getLogger("progresskit").warning(
                "Process %d counts nothing for the job of its parent: %s", os.getpid(), problem
            )
        return None
