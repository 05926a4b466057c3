"""The site of queues.py on Procrastinate: PostgreSQL, a worker that executes two jobs at a time, in threads."""

from __future__ import annotations

import os
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

import procrastinate
from _queue_tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_BROKER"]))
if "PROGRESSKIT_URL" in os.environ:
    import progresskit_procrastinate

    progresskit_procrastinate.install(app)


def _by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that has its positional arguments by name, as Procrastinate carries them."""

    @wraps(function)
    def call(arguments: Sequence[int]) -> Any:
        return function(*arguments)

    return call


_tasks = {name: app.task(name=name)(_by_name(function)) for name, function in TASKS.items()}


def send(name: str, *arguments: Any) -> None:
    """Put a task in the queue."""
    _tasks[name].defer(arguments=[*arguments])


def park(name: str) -> None:
    """Put a task in another queue, which no worker reads."""
    _tasks[name].configure(queue="parked").defer(arguments=[])


def worker() -> Sequence[str]:
    """Return the command of a worker."""
    app.open()
    app.schema_manager.apply_schema()
    options = ("--queues", "default", "--concurrency", "2")
    return (sys.executable, "-m", "procrastinate", "--app", "_queue_procrastinate.app", "worker", *options)
