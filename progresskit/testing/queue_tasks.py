"""
The bodies of the tasks of `QueueContract`: every queue's worker registers these functions in its own way.

They use progresskit and the standard library only. A `folder` is a path; a task that is called in it counts its calls
there, and goes on when the test makes the file `go` in it.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import progresskit

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = 0.005
"""Seconds between two reports of a task that waits."""


def count(n: int) -> int:
    """Count to `n` by `track`."""
    return sum(1 for _ in progresskit.track(range(n), unit="rows"))


def observe_inside(n: int) -> int:
    """Count to `n` by the observer of the surrounding job, which the block does not end."""
    with progresskit.observe(total=n) as observer:
        for _ in range(n):
            observer.advance()
    return n


def use_current(n: int) -> int:
    """Count to `n` by the surrounding job."""
    progresskit.current().set_progress(n, n)
    return n


def use_steps(n: int) -> int:
    """Count to `n` in each of two steps."""
    for name in ("Read", "Write"):
        with progresskit.step(name, total=n) as step:
            step.advance(n)
    return n


def fail(text: str) -> None:
    """Raise an error at 29 of 100."""
    progresskit.current().set_progress(29, 100)
    raise ValueError(text)


def flaky(times: int, folder: str) -> int:
    """Raise an error in the first calls, so many times; then return the number of calls."""
    called = note_call(folder)
    progresskit.current().set_progress(called, times + 1)
    if called <= times:
        raise ConnectionError(f"call {called}")
    return called


def wait(folder: str) -> int:
    """Report until the test lets the task go on; return the number of reports."""
    note_call(folder)
    reports = 0
    while not may_go_on(folder):
        progresskit.current().advance()
        reports += 1
        time.sleep(STEP)
    return reports


async def wait_in_loop(folder: str) -> int:
    """Do the same as `wait` in a coroutine."""
    note_call(folder)
    reports = 0
    while not may_go_on(folder):
        progresskit.current().advance()
        reports += 1
        await asyncio.sleep(STEP)
    return reports


def nothing() -> None:
    """Do nothing."""


def result(value: Any) -> Any:
    """Return the value."""
    return value


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (count, observe_inside, use_current, use_steps, fail, flaky, wait, wait_in_loop, nothing, result)
}
"""All of them, by the names under which the contract sends them."""


def note_call(folder: str) -> int:
    """Count a call, in whichever process; return how many there were."""
    file = os.open(Path(folder) / "calls", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        os.write(file, b".")
        return os.lseek(file, 0, os.SEEK_END)
    finally:
        os.close(file)


def calls(folder: Path) -> int:
    """Return how many calls there were."""
    file = folder / "calls"
    return file.stat().st_size if file.exists() else 0


def may_go_on(folder: str) -> bool:
    """Return whether the test lets the task go on."""
    return (Path(folder) / "go").exists()
