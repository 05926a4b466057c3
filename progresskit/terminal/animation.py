"""The thread that moves the bars of a process."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING

from progresskit import background

from .bars import FRAMES_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_SECONDS = 1 / FRAMES_PER_SECOND


class Animation:
    """Calls `draw` for each frame, in one thread, until `has_ended` returns True."""

    def __init__(self, draw: Callable[[], object], has_ended: Callable[[], bool]) -> None:
        self._draw, self._has_ended = draw, has_ended
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin without a thread: that of the parent is not there."""
        self._lock = Lock()
        self._stop = Event()
        self._is_running = False

    def start(self) -> None:
        """Start the thread unless it runs; where there can be no thread, draw one frame here."""
        with self._lock:
            if self._is_running:
                return
            try:
                background.start(self._run, "progresskit-terminal", self._stop.set)
                self._is_running = True
                return
            except RuntimeError:
                pass
        self._draw()

    def stop(self) -> None:
        """Draw no frame any more."""
        self._stop.set()

    def _run(self) -> None:
        stop = self._stop
        while not stop.wait(FRAME_SECONDS):
            self._draw()
            with self._lock:  # what is to be drawn next is seen here, or starts another thread
                if self._has_ended():
                    self._is_running = False
                    return
