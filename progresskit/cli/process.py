"""The process of a command, in a process group of its own."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from typing import TYPE_CHECKING

from .signals import OF_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .job_control import JobControl

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


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
        self._pid = _spawn(command, environment, stdout)
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
                self.code = os.waitstatus_to_exitcode(status)

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


def _spawn(command: Sequence[str], environment: Mapping[str, str], stdout: int | None) -> int:
    def spawn(call: Callable[..., int], path: str, arguments: list[str]) -> int:
        return call(
            path,
            arguments,
            environment,
            file_actions=() if stdout is None else ((os.POSIX_SPAWN_DUP2, stdout, 1),),
            setpgroup=0,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    try:
        return spawn(os.posix_spawnp, command[0], [*command])
    except OSError as error:
        path = shutil.which(command[0])
        if error.errno != errno.ENOEXEC or path is None:
            raise
        # A script that does not name its interpreter is one for the shell, as every shell has it.
        return spawn(os.posix_spawn, "/bin/sh", ["/bin/sh", path, *command[1:]])
