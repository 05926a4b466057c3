"""
The process of a command, in a process group of its own, and the terminal and the signals that they share.

With a group of its own, a request to cancel reaches all processes of the command and no others. A terminal serves one
group only, so it has to be handed over, as a shell does.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from select import select
from subprocess import Popen
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import Any

OF_TERMINAL = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH))
"""The signals that a terminal, or the shell in it, sends to whole process groups."""

FORWARDED = OF_TERMINAL | {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


class Process:
    """
    A command that was started; standard output goes to the descriptor `stdout`, unless it is None.

    Raises OSError if it cannot be started.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], control: JobControl, stdout: int | None = None
    ) -> None:
        self._control = control
        self.code: int | None = None
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        self._popen = _spawn(command, environment, stdout)
        self._pid = self._popen.pid
        if os.isatty(0) and os.isatty(1):
            control.give(self._pid)  # else others of a pipeline may need the terminal: it is given on demand

    def look(self) -> None:
        """Note the end of the command; and if it was stopped, give it the terminal or stop as well."""
        any_child = -1 if os.getpid() == 1 else self._pid  # the first process of a container inherits all orphans
        while self.code is None or any_child == -1:
            try:
                pid, status = os.waitpid(any_child, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self._pid:
                continue
            if os.WIFSTOPPED(status):
                self._handle_stop(os.WSTOPSIG(status))
            else:
                self.code = self._popen.returncode = os.waitstatus_to_exitcode(status)

    def _handle_stop(self, number: int) -> None:
        if not self._control.has_terminal:
            return
        wants_terminal = number in (signal.SIGTTIN, signal.SIGTTOU)
        if not (wants_terminal and self._control.give(self._pid)):
            self._control.suspend()
            self._control.resume(self._pid)
        self.signal_group(signal.SIGCONT)

    def forward(self, number: int) -> None:
        """Send the command a signal that this process was sent; one of a terminal goes to the whole group, as there."""
        if number in OF_TERMINAL and self._control.has_terminal:
            self.signal_group(number)
        elif self.code is None:
            os.kill(self._pid, number)

    def signal_group(self, number: int) -> bool:
        """Send a signal to all processes of the group, 0 for none; return False if there are none."""
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # all of them run as another user
        return True


def _spawn(command: Sequence[str], environment: Mapping[str, str], stdout: int | None) -> Popen[bytes]:
    def spawn(words: Sequence[str]) -> Popen[bytes]:
        return Popen(words, env=environment, stdout=stdout, process_group=0, close_fds=False)

    try:
        return spawn(command)
    except OSError as error:
        path = shutil.which(command[0])
        if error.errno != errno.ENOEXEC or path is None:
            raise
        # A script that does not name its interpreter is one for the shell, as every shell has it.
        return spawn(["/bin/sh", path, *command[1:]])


class JobControl:
    """The controlling terminal of this process, if it has one."""

    def __init__(self) -> None:
        self._own_group = os.getpgrp()
        self._given_to: int | None = None
        try:
            self._terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            self._terminal = -1

    def close(self) -> None:
        """Take the terminal back."""
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


class Signals:
    """
    Receives the forwarded signals and SIGCHLD until it is closed, in the main thread.

    Signals that are ignored stay ignored, here and in the command: `nohup` and shells rely on it.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *FORWARDED):
            if number is signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, _receive)

    def close(self) -> None:
        """Restore the handlers."""
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
