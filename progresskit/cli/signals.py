"""The signals that `progresskit run` is sent, received in its loop instead of in handlers."""

from __future__ import annotations

import os
import signal
from select import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, Self

OF_TERMINAL = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH))
"""The signals that a terminal, or the shell in it, sends to whole process groups."""

FORWARDED = OF_TERMINAL | {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


class Signals:
    """
    Receives the forwarded signals and SIGCHLD while it is entered, in the main thread.

    Signals that are ignored stay ignored, here and in the command: `nohup` and shells rely on it.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._reader = self._writer = -1

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *FORWARDED):
            if number is signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, _receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, seconds: float) -> bytes:
        """Return the numbers of the signals that were received, once there are some or that time has passed."""
        try:
            if select([self._reader], [], [], seconds)[0]:
                return os.read(self._reader, 4096)
        except BlockingIOError:
            pass
        return b""


def _receive(number: int, frame: FrameType | None) -> None:
    """Return: the number is in the pipe already."""
