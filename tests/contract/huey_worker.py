"""The Huey instance of the contract's workers, `huey_consumer tests.contract.huey_worker.huey`, and of their sender."""

from __future__ import annotations

import os
import sys

if "greenlet" in sys.argv:
    from gevent import monkey  # type: ignore[import-untyped]

    monkey.patch_all()

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import huey as queue

import progresskit_huey
from progresskit.testing.queue_tasks import TASKS

if TYPE_CHECKING:
    from progresskit.kit import Kit


def make_huey(url: str, kit: Kit | None = None) -> tuple[Any, dict[str, Any]]:
    """Return an instance on Redis, or on a file of SQLite, and its tasks by their names."""
    if url.startswith("redis:"):
        # A killed worker that waits in Redis would take the next task with it.
        made = queue.RedisHuey("contract", url=url, blocking=False)
    else:
        # Of a file that stays locked for longer, as on a busy machine, Huey loses tasks.
        made = queue.SqliteHuey("contract", filename=url, timeout=60)
    progresskit_huey.install(made, kit=kit)
    tasks = {name: made.task()(task) for name, task in TASKS.items() if not iscoroutinefunction(task)}
    return made, tasks


if "HUEY_URL" in os.environ:
    huey, _ = make_huey(os.environ["HUEY_URL"])
