"""
The bars of the jobs of this process, in the terminal that the process writes to.

They are below the text of the process, which is written through here, see streams.py. One thread moves the bars, while
there are any. The lines of other processes in the same terminal are drawn too, see board.py.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import contextmanager
from threading import Lock, RLock
from time import monotonic
from typing import TYPE_CHECKING

from progresskit import exits, forks

from . import bars
from .animation import FRAME_SECONDS, Animation
from .board import Entry, SharedBoard, ends_midline
from .console import device_of
from .streams import overlay_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from logging import Logger

    from .bars import Seen
    from .board import Board
    from .console import Console
    from .streams import OverlaidStream

TEXT_SECONDS = 5.0
"""The longest time for which text and last lines wait for their turn, as for a process that was halted in its own."""


class Overlay:
    """The bars in one terminal; `clock` returns seconds that all processes of the machine share."""

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._console, self._clock = console, clock
        device = device_of(console.stream)
        self._board = SharedBoard(device, clock)
        self._animation = Animation(self._try_to_draw, self._has_drawn_all)
        self._is_midline = False
        self._is_broken = False
        self._reset()
        self._streams = [] if device is None else overlay_streams(device, self, clock)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._jobs: dict[str, Seen] = {}
        self._finished: list[Seen] = []
        self._lock = RLock()  # code that draws may be interrupted by a signal handler or finalizer that prints
        self._is_drawing = False
        self._closes_at_exit = False

    def after_fork_in_child(self) -> None:
        """Start again without jobs: those there were are drawn by the parent."""
        self._reset()
        self._board.after_fork_in_child()
        self._animation.after_fork_in_child()
        for stream in self._streams:
            stream.after_fork_in_child()

    # Jobs.

    def show(self, id: str, seen: Seen) -> None:
        """Draw the bar of a job, from the next frame on."""
        self._jobs[id] = seen
        self._close_at_exit()
        self.start_thread()

    def finish(self, id: str, seen: Seen) -> None:
        """Write the last line of a job, which stays, in place of its bar."""
        self._jobs.pop(id, None)
        self._finished.append(seen)
        self._close_at_exit()
        self._try_to_draw(TEXT_SECONDS)
        if self._jobs or self._finished:
            self.start_thread()

    def _close_at_exit(self) -> None:
        if not self._closes_at_exit:
            self._closes_at_exit = True
            exits.at_exit_of_child(self.close, priority=-1)  # after the publisher, which ends the jobs

    def close(self) -> None:
        """Erase the bars, also those of processes that were killed; the process ends."""
        self._animation.stop()
        self._jobs.clear()
        for stream in self._streams:
            stream.release(0)
        self._console.wait_until_writable(TEXT_SECONDS)
        self._try_to_draw(TEXT_SECONDS)

    # The screen.

    def start_thread(self) -> None:
        """Have the thread move the bars, and release text that streams hold, until there is none of both."""
        if not self._is_broken:
            self._animation.start()

    def _has_drawn_all(self) -> bool:
        has_text = any(stream.has_to_release for stream in self._streams)
        return self._is_broken or not (self._jobs or self._finished or has_text)

    def _try_to_draw(self, seconds: float = FRAME_SECONDS) -> None:
        try:
            self._draw(seconds)
        except (OSError, ValueError):
            self._is_broken = True  # the terminal is gone, or its stream was closed
        except Exception:
            # No known error arrives here. In any case, the process writes on.
            self._is_broken = True
            _log().exception("The bars can no longer be drawn in the terminal")

    def _draw(self, seconds: float) -> None:
        for stream in self._streams:
            if stream.has_to_release:
                stream.release(FRAME_SECONDS)
        if not self._console.wait_until_writable(min(seconds, FRAME_SECONDS)):
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
        lines = bars.draw(finished, self._console.size[0] - 1, now, self._console, longest)
        return ("\n" if board.is_midline else "") + "".join(f"{line}\n" for line in lines)

    def _post(self, board: Board, now: float) -> None:
        """Put the lines of this process on the board."""
        pid, jobs = os.getpid(), [*self._jobs.values()]
        if jobs:
            size = self._console.size[0] - 1, self._rows
            lines = bars.frame(jobs, size, now, self._console, board.longest(pid))
            board.entries[pid] = Entry(now, bars.longest_label(jobs), lines)
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

    # The text of this process.

    def write(self, stream: OverlaidStream, text: str, *, can_wait: bool) -> bool:
        """Write text above the bars; return False where there are bars, for text that `can_wait`."""
        if can_wait and self._jobs and not self._is_broken:
            return False  # without a turn, which costs more than all else
        with self._turn(TEXT_SECONDS, create=False) as board:
            has_bars = board is not None and bool(board.lines)
            if not (has_bars and can_wait):
                if board is not None and has_bars:
                    text = self._change(board, text)
                else:
                    self._is_midline = ends_midline(text, self._is_midline)
                stream.write_through(text, flush=has_bars)
                return True
        return False


def _depth() -> int:
    """Return how many rows below the cursor the bars begin: tqdm has the cursor above the inner ones of nested bars."""
    tqdm = sys.modules.get("tqdm.std")
    if tqdm is None:
        return 1
    try:
        return 1 + max((abs(bar.pos) for bar in [*tqdm.tqdm._instances] if not bar.disable), default=0)
    except (AttributeError, RuntimeError):  # of another version, or changed meanwhile by another thread
        return 1


_overlays: dict[int, Overlay] = {}
_making = Lock()


def overlay_of(console: Console) -> Overlay:
    """Return the overlay of a terminal: the process has one for each, which lives as long as the process."""
    device = device_of(console.stream)
    if device is None:
        return Overlay(console)
    with _making:
        if device not in _overlays:
            _overlays[device] = Overlay(console)
    return _overlays[device]


def _forked_child() -> None:
    for overlay in _overlays.values():
        overlay.after_fork_in_child()


forks.after_in_child(_forked_child)


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
