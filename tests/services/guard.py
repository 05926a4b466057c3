"""
Ends what a test run has started and left behind: `guard.py PID MARK`, beside the process with that id.

It runs on the standard library alone, in a process of its own, until that process is gone, however it ended: a killed
one ends none of its servers. A line of its input is `+PID FOLDER` for a process that works in a folder, or `-PID` for
one that has been ended. In the end those that are left are killed with all their descendants, and so are all processes
that have the mark in the environment in which they were started; their folders are removed.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

SECONDS = 0.2
"""How often it looks whether the process is there: a forked child may keep the pipe open."""


def main(owner: int, mark: bytes) -> None:
    started = dict[int, str]()
    rest = b""
    while os.getppid() == owner:
        if not select.select([0], [], [], SECONDS)[0]:
            continue
        read = os.read(0, 65_536)
        if not read:
            break
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            pid, _, folder = line[1:].decode().partition(" ")
            if line.startswith(b"+"):
                started[int(pid)] = folder
            else:
                started.pop(int(pid), None)
    while left := {
        pid
        for pid in with_descendants({pid for pid in processes() if pid in started or is_marked(pid, mark)})
        if not is_guard(pid)  # of a process that is being killed: it has folders to remove, and ends then
    }:
        for number in (signal.SIGSTOP, signal.SIGKILL):  # so that none starts another meanwhile
            for each in left:
                with suppress(ProcessLookupError):
                    os.kill(each, number)
    for folder in started.values():
        shutil.rmtree(folder, ignore_errors=True)


def processes() -> dict[int, int]:
    """Return the parent of each process that has not ended."""
    found = dict[int, int]()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (place / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state not in b"ZX":
                found[int(place.name)] = int(parent)
    return found


def is_marked(pid: int, mark: bytes) -> bool:
    with suppress(OSError):
        return mark in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def with_descendants(chosen: set[int]) -> set[int]:
    parents = processes()
    before = set[int]()
    while before != chosen:
        before = chosen
        chosen = chosen | {pid for pid, parent in parents.items() if parent in chosen}
    return chosen


def is_guard(pid: int) -> bool:
    with suppress(OSError):
        return os.fsencode(__file__) in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].encode())
