"""Authorises viewers again whose records are held back, while the others are served."""

from __future__ import annotations

import logging
from asyncio import create_task
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Iterable

    from .connections import Connection

logger = logging.getLogger("progresskit.web")

AT_ONCE = 32
"""The site is asked about this many viewers at the same time, when a job that many watch begins another run."""


class Rechecks:
    """The viewers of one fan-out whose records are held back; `drop` stops sending some jobs to a viewer."""

    def __init__(self, drop: Callable[[Connection, Iterable[str]], None]) -> None:
        self._drop = drop
        self._waiting: dict[Connection, None] = {}
        self._asking: set[Connection] = set()
        self._tasks: set[Task[None]] = set()

    def add(self, connection: Connection) -> None:
        """Authorise the records that are held back from the viewer."""
        if connection in self._asking:
            return  # all that it holds is asked about, to the last
        self._waiting[connection] = None
        if len(self._tasks) < AT_ONCE:
            # Each viewer is asked about in the context of its own request; the task needs none.
            task = create_task(self._work(), name="progresskit-recheck", context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop asking; the records held back are not sent."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            connection = next(iter(self._waiting))
            del self._waiting[connection]
            self._asking.add(connection)
            try:
                await self._ask(connection)
            except Exception:
                logger.exception("could not authorise a viewer again")
                connection.end()
            finally:
                self._asking.discard(connection)

    async def _ask(self, connection: Connection) -> None:
        while connection.holds and not connection.closed:
            self._drop(connection, await connection.recheck())
            connection.flush(monotonic())
