"""A process with all its descendants: started, harmed, and ended for sure, however the test's own process ends."""

from __future__ import annotations

import atexit
import os
import pwd
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MARKS = "TEST_RUNS"
"""In the environment of a process, those that have started it, directly or not: see `guard.py`."""


class Account(NamedTuple):
    """The user that a server runs as, where the tests are run by root and the server refuses to be."""

    uid: int
    gid: int

    @classmethod
    def of(cls, name: str) -> Account:
        """Return that of a user by name."""
        user = pwd.getpwnam(name)
        return cls(user.pw_uid, user.pw_gid)


class Guard:
    """The process that ends what this one leaves behind, also if it is killed."""

    def __init__(self) -> None:
        self._owner, mark = os.getpid(), f"{os.getpid()}-{os.urandom(8).hex()}"
        os.environ[MARKS] = f"{os.environ.get(MARKS, '')} {mark}"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), str(self._owner), mark],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in a terminal must not end it before its time
        )
        atexit.register(self._end)

    def tell(self, line: str) -> None:
        """Have it know of a process, or forget one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def _end(self) -> None:
        if os.getpid() == self._owner:
            self._process.communicate()


@cache
def guard(owner: int) -> Guard:
    """Return the guard of this process, whose id is `owner`."""
    return Guard()


class Process:
    """A process in a session of its own, which works in a folder that is removed if nobody ends it in time."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        log: str = "server.log",
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        self._owner = os.getpid()
        with (folder / log).open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, start_new_session=True, **_surroundings(folder, env, account)
            )
        self.pid = self._process.pid
        guard(self._owner).tell(f"+{self.pid} {folder}")

    @property
    def ended(self) -> bool:
        """True once it has ended, by whatever."""
        return self._process.poll() is not None

    def tree(self) -> list[int]:
        """Return the process and its living descendants."""
        found = [self.pid]
        for pid in found:
            found += _children(pid)
        return found

    def signal(self, number: int) -> None:
        """Send a signal to the process first, and to its descendants until none is left that had it not."""
        signalled = set[int]()
        while new := [pid for pid in self.tree() if pid not in signalled]:
            for pid in new:
                signalled.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def stop(self) -> None:
        """Stop all of it where it is; returns when it stands still, which is a moment after the signal was sent."""

        def stands_still() -> bool:
            self.signal(signal.SIGSTOP)
            return not any(map(runs, self.tree()))

        wait_until(stands_still, f"processes {self.tree()} stand still")

    def kill(self) -> None:
        """End all of it as SIGKILL does; returns when nothing is left."""
        if os.getpid() != self._owner:
            return  # a forked child ends, and the server is its parent's
        self.stop()  # so that none of them starts another meanwhile
        tree = self.tree()
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        wait_until(lambda: not any(map(is_alive, tree)), f"processes {tree} are gone")
        guard(self._owner).tell(f"-{self.pid}")


def run(
    command: Sequence[str],
    folder: Path,
    *,
    log: str = "prepare.log",
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> None:
    """Run a program to its end; raises RuntimeError, with the end of what it wrote, when it fails."""
    with (folder / log).open("ab") as output:
        surroundings = _surroundings(folder, env, account)
        result = subprocess.run(command, check=False, stdout=output, timeout=PATIENCE, **surroundings)
    if result.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{tail(folder / log)}")


def _surroundings(folder: Path, env: Mapping[str, str] | None, account: Account | None) -> dict[str, Any]:
    surroundings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": folder, "env": env}
    if account is not None:
        surroundings |= {"user": account.uid, "group": account.gid, "extra_groups": [account.gid]}
    return surroundings


def tail(log: Path, lines: int = 30) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def is_alive(pid: int) -> bool:
    """Return whether a process is there; one that has ended and was only not yet waited for is not."""
    return _state(Path(f"/proc/{pid}")) not in "ZX"


def runs(pid: int) -> bool:
    """Return whether any thread of a process is neither stopped nor at its end."""
    return any(_state(thread) not in "TtZX" for thread in Path(f"/proc/{pid}/task").glob("*"))


def _state(place: Path) -> str:
    """Return the letter for what a process or a thread does; X for one that is gone."""
    try:
        return (place / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):  # it may end at any moment, and so may a thread of it
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                yield from map(int, path.read_text().split())
