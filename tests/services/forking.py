"""Forked children, and signals between them and their parent."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Child:
    """A forked process that does one thing."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.pid = os.fork()
        if not self.pid:
            try:
                act()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)

    def succeeds(self) -> bool:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0


class Signal:
    """A signal that one process gives and another waits for; it ends when all copies of it are closed."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def give(self) -> None:
        os.write(self._write, b"x")

    def wait(self) -> None:
        os.read(self._read, 1)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
