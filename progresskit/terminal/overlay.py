"""
The bars of the jobs of this process, in the terminal that the process writes to.

They are below the text of the process, which is written through here: the method `write` of its standard streams is
replaced, so that it does not matter which code holds the stream, such as a handler of logging. One thread moves the
bars, while there are any. The lines of processes that share the terminal since they were forked are drawn too, see
board.py.

Not with `rich.live`, which takes over the terminal: what logging writes to a stream that it has held before tears its
bars, and each step of a bar of tqdm becomes a line.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import select
import sys
from contextlib import contextmanager, suppress
from logging import getLogger
from threading import Event, Lock, RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from progresskit import background, exits, forks

from . import bars
from .board import Entry, SharedBoard, ends_midline
from .console import device_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .board import Board
    from .console import Console
    from .records import Seen

FRAME_SECONDS = 1 / bars.FRAMES_PER_SECOND
TEXT_SECONDS = 5.0
"""The longest time for which text and last lines wait for their turn, as for a process that was halted in its own."""

_MOVES_CURSOR = re.compile(r"[\n\r\x1b]")


class Overlay:
    """The bars in one terminal; `clock` returns seconds that all processes of the machine share."""

    def __init__(self, console: Console, device: int | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._console, self._clock = console, clock
        self._board = SharedBoard()
        self._is_midline = False
        self._is_broken = False
        self.after_fork_in_child()
        if device is not None:
            self._replace_write(device)
        atexit.register(self.close)

    def after_fork_in_child(self) -> None:
        """Start again without jobs and thread: those there were are of the parent."""
        self._jobs: dict[str, Seen] = {}
        self._finished: list[Seen] = []
        self._lock = RLock()  # code that draws may be interrupted by a signal handler or finalizer that prints
        self._is_drawing = False
        self._closes_at_exit = False
        self._starting = Lock()
        self._stop = Event()
        self._is_running = False
        self._board.after_fork_in_child()

    # Jobs.

    def show(self, id: str, seen: Seen) -> None:
        """Draw the bar of a job, from the next frame on."""
        self._jobs[id] = seen
        self._close_at_exit()
        self._start_thread()

    def finish(self, id: str, seen: Seen) -> None:
        """Write the last line of a job, which stays, in place of its bar."""
        self._jobs.pop(id, None)
        self._finished.append(seen)
        self._close_at_exit()
        self._try_to_draw(TEXT_SECONDS)
        if self._jobs or self._finished:
            self._start_thread()

    def _close_at_exit(self) -> None:
        if not self._closes_at_exit:
            self._closes_at_exit = True
            exits.at_exit_of_child(self.close, priority=-1)  # after the publisher, which ends the jobs

    def close(self) -> None:
        """Erase the bars, also those of processes that were killed; the process ends."""
        self._stop.set()
        self._jobs.clear()
        self._is_writable(TEXT_SECONDS)
        self._try_to_draw(TEXT_SECONDS)

    # The thread.

    def _start_thread(self) -> None:
        """Have the thread draw frames until there are no jobs; where there can be no thread, draw one frame here."""
        with self._starting:
            if self._is_running or self._is_broken:
                return
            try:
                background.start(self._run, "progresskit-terminal", self._stop.set)
                self._is_running = True
                return
            except RuntimeError:
                pass
        self._try_to_draw()

    def _run(self) -> None:
        while not self._stop.wait(FRAME_SECONDS):
            self._try_to_draw()
            with self._starting:  # a job that comes next is seen here, or starts another thread
                if self._is_broken or not (self._jobs or self._finished):
                    self._is_running = False
                    return

    # The screen.

    def _try_to_draw(self, seconds: float = FRAME_SECONDS) -> None:
        try:
            self._draw(seconds)
        except (OSError, ValueError):
            self._is_broken = True  # the terminal is gone, or its stream was closed
        except Exception:
            # No known error arrives here. In any case, the process writes on.
            self._is_broken = True
            getLogger("progresskit").exception("The bars can no longer be drawn in the terminal")

    def _draw(self, seconds: float) -> None:
        if not self._is_writable(min(seconds, FRAME_SECONDS)):
            return
        with self._turn(seconds, create=bool(self._jobs or self._finished)) as board:
            if board is None:
                return
            if not board.lines:
                board.is_midline = self._is_midline
            now = self._clock()
            text = self._last_lines(board, now)
            self._post(board, now)
            is_due = now - board.drawn_at >= 0.9 * FRAME_SECONDS  # unless another process has drawn a moment ago
            if text or is_due or not self._jobs:
                board.drawn_at = now
                self._console.write(self._change(board, text))

    def _last_lines(self, board: Board, now: float) -> str:
        finished = [self._finished.pop(0) for _ in range(len(self._finished))]  # others may be added meanwhile
        if not finished:
            return ""
        longest = max(board.longest(os.getpid()), bars.longest_label(self._jobs.values()))
        lines = bars.draw(finished, self._console.size[0] - 1, now, self._console.glyphs, longest)
        return ("\n" if board.is_midline else "") + "".join(f"{self._console.rendered(line)}\n" for line in lines)

    def _post(self, board: Board, now: float) -> None:
        """Put the lines of this process on the board."""
        pid, jobs = os.getpid(), [*self._jobs.values()]
        if jobs:
            size = self._console.size[0] - 1, self._rows
            lines = bars.frame(jobs, size, now, self._console.glyphs, board.longest(pid))
            board.entries[pid] = Entry(bars.longest_label(jobs), [*map(self._console.rendered, lines)])
        else:
            board.entries.pop(pid, None)

    def _change(self, board: Board, text: str) -> str:
        written = board.change(board.combined(self._rows), _depth(), text)
        self._is_midline = board.is_midline
        return written

    @property
    def _rows(self) -> int:
        """How many rows there are for bars."""
        return max(self._console.size[1] - _depth() - 1, 1)

    @contextmanager
    def _turn(self, seconds: float, *, create: bool) -> Iterator[Board | None]:
        """
        Give the board, to be changed in the block; None where there is none.

        Waits for other threads and processes, `seconds` at most for each; after that it gives None too.
        """
        if self._is_broken or not self._lock.acquire(timeout=seconds):
            yield None
            return
        try:
            if self._is_drawing:
                yield None
                return
            self._is_drawing = True
            try:
                with self._board.locked(seconds, create=create) as board:
                    yield board
            finally:
                self._is_drawing = False
        finally:
            self._lock.release()

    def _is_writable(self, seconds: float) -> bool:
        """
        Return False if a write would still wait after this time.

        It waits for a moment while another process writes, and for long after Ctrl-S.
        """
        try:
            return bool(select.select((), (self._console.stream,), (), seconds)[1])
        except (OSError, ValueError):
            return True

    # The text of this process.

    def _replace_write(self, device: int) -> None:
        standard = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        streams = {id(stream): stream for stream in standard if stream is not None and device_of(stream) == device}
        for stream in streams.values():
            with suppress(AttributeError):  # a stream of a kind that allows no attributes: its text may end in a bar
                stream.write = self._overlaid(stream)  # type: ignore[method-assign]

    def _overlaid(self, stream: TextIO) -> Callable[[Any], int]:
        original, flush = stream.write, stream.flush
        # Such a stream keeps text until its line ends, or until it is flushed.
        has_buffer = getattr(stream, "line_buffering", False) and not getattr(stream, "write_through", False)

        def write(text: Any) -> int:
            is_other = not isinstance(text, str) or not text or (has_buffer and not _MOVES_CURSOR.search(text))
            if is_other or sys.is_finalizing():
                return original(text)  # at the end, a thread that was stopped may hold the lock of the overlay
            self._write(original, flush, text)
            return len(text)

        return write

    def _write(self, write: Callable[[str], object], flush: Callable[[], object], text: str) -> None:
        """Write text above the bars by these methods of its stream."""
        with self._turn(TEXT_SECONDS, create=False) as board:
            has_bars = board is not None and bool(board.lines)
            if board is not None and has_bars:
                text = self._change(board, text)
            else:
                self._is_midline = ends_midline(text, self._is_midline)
            write(text)
            if has_bars:
                flush()


def _depth() -> int:
    """Return how many rows below the cursor the bars begin: tqdm has the cursor above the inner ones of nested bars."""
    tqdm = sys.modules.get("tqdm.std")
    if tqdm is None:
        return 1
    try:
        return 1 + max((abs(bar.pos) for bar in [*tqdm.tqdm._instances] if not bar.disable), default=0)
    except (AttributeError, RuntimeError):  # of another version, or changed meanwhile by another thread
        return 1


_overlays: dict[int | None, Overlay | None] = {}
_making = Lock()


def overlay_of(console: Console) -> Overlay | None:
    """Return the overlay of a terminal, one for each, which lives as long as the process; None where others draw."""
    device = device_of(console.stream)
    with _making:
        if device is None:
            return Overlay(console)
        if device not in _overlays:
            _overlays[device] = Overlay(console, device) if _claim(console) else None
        return _overlays[device]


def _claim(console: Console) -> bool:
    """Claim the terminal for this process and those that will be forked from it; return False if it is claimed."""
    try:
        file = os.open(os.ttyname(console.stream.fileno()), os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    except OSError:
        pass
    return True


def _forked_child() -> None:
    for overlay in _overlays.values():
        if overlay is not None:
            overlay.after_fork_in_child()


forks.after_in_child(_forked_child)
