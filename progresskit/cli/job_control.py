"""
The terminal of `progresskit run`, shared with the process group of its command as a shell shares it.

The command has a process group of its own, so that a request to cancel reaches all processes of the command and no
others. A terminal serves one group only, so it has to be handed over.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class JobControl:
    """The controlling terminal of this process, if it has one."""

    def __init__(self) -> None:
        self._own_group = os.getpgrp()
        self._given_to: int | None = None
        try:
            self._terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._terminal = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal >= 0:
            self.take_back()
            os.close(self._terminal)

    @property
    def has_terminal(self) -> bool:
        """True if this process has a controlling terminal."""
        return self._terminal >= 0

    def give(self, group: int) -> bool:
        """Make a process group the foreground one in place of this process' group; False if that is not it."""
        if self._foreground() != self._own_group:
            return False
        self._set_foreground(group)
        self._given_to = group
        return True

    def take_back(self) -> None:
        """Make the group of this process the foreground one again, if it has given that up."""
        if self._given_to is not None and self._foreground() == self._given_to:
            self._set_foreground(self._own_group)

    def suspend(self) -> None:
        """
        Stop this process and its group, as the stopped command is, until a shell continues them.

        Returns at once where no shell could: the kernel stops no orphaned group.
        """
        self.take_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        os.killpg(self._own_group, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)  # to this thread: it stops before the call returns
        signal.signal(signal.SIGTSTP, handler)

    def resume(self, group: int) -> None:
        """Give the terminal to a group that had it before this process was suspended."""
        if self._given_to is not None:
            self.give(group)

    def _foreground(self) -> int | None:
        try:
            return os.tcgetpgrp(self._terminal) if self._terminal >= 0 else None
        except OSError:
            return None  # hung up

    def _set_foreground(self, group: int) -> None:
        # A process in the background is stopped by SIGTTOU for this call, unless it blocks the signal.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            os.tcsetpgrp(self._terminal, group)
        except OSError:
            pass  # hung up, or the group has ended
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
