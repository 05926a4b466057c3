"""
One event stream to very many viewers, in one event loop.

All connections of a loop share one viewer of the hub. Each record's bytes are made once, and there is no task, queue
or future per connection and event.
"""

from __future__ import annotations

import logging
from asyncio import create_task, sleep
from contextvars import Context
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING

from .messages import FanoutRecord
from .rechecks import Rechecks

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Iterable, Mapping

    from progresskit import Progress
    from progresskit.web import Viewer

    from .connections import Connection

logger = logging.getLogger("progresskit.web")

TICK_SECONDS = 1.0
"""Time between checks for quiet connections, expired keys, and a fan-out without connections."""

FAILED = "could not send progress to a viewer"
"""The failure of one connection is logged, and does not affect the others."""

SLICE = 250
"""Records that are rendered, or connections that are served, before other tasks of the loop have their turn."""


class Fanout:
    """
    Sends the records of one viewer, which it closes, to all connections of the loop it was made in.

    It ends, and ends its connections, by `close`, when the kit is closed, and when its loop ends; also after its last
    connection has left.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._members: dict[Connection, None] = {}
        self._connections: dict[str, dict[Connection, None]] = {}
        self._last: dict[str, FanoutRecord] = {}
        self._rechecks = Rechecks(self.drop)
        self._on_held = self._rechecks.add  # one object for all connections
        self._tick_at = monotonic() + TICK_SECONDS
        self.closed = False
        # The task outlives the request it is made in, and must not inherit that request's context.
        self._task = create_task(self._run(), name="progresskit-fanout", context=Context())
        self._task.add_done_callback(self._stopped)

    @property
    def serves(self) -> bool:
        """Whether it still sends: not after the kit was closed, even if it has not noticed that yet."""
        return not self.closed and not self._viewer.closed

    def join(self, connection: Connection) -> None:
        """Serve this connection until it leaves; of no job so far, or of those it begins with."""
        self._members[connection] = None
        connection.on_held = self._on_held
        self.add(connection, connection.ids)

    def leave(self, connection: Connection) -> None:
        """Stop sending to this connection."""
        connection.leave()
        self._members.pop(connection, None)
        self.drop(connection, connection.ids)

    def add(self, connection: Connection, ids: Iterable[str]) -> None:
        """Send the connection records of these jobs from now on, the known ones at once."""
        new = []
        for id in ids:
            connections = self._connections.get(id)
            if connections is None:
                connections = self._connections[id] = {}
                new.append(id)
            connections[connection] = None
            if id in self._last:
                connection.keep(id, self._last[id])
        if new:
            self._viewer.add(new)
        connection.flush(monotonic())

    def drop(self, connection: Connection, ids: Iterable[str]) -> None:
        """Send the connection no more records of these jobs."""
        gone = []
        for id in ids:
            connections = self._connections.get(id)
            if connections is None or connection not in connections:
                continue
            del connections[connection]
            if not connections:
                del self._connections[id]
                self._last.pop(id, None)
                gone.append(id)
        if gone and not self.closed:
            self._viewer.drop(gone)

    def close(self) -> None:
        """End all connections now."""
        self._task.cancel()
        self._end()

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            self._viewer.close()
            self._rechecks.close()
            for connection in list(self._members):
                try:
                    connection.end()
                except Exception:
                    logger.exception(FAILED)

    def _stopped(self, task: Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("the fan-out of progress has failed; its viewers come again", exc_info=error)
        self._end()

    async def _run(self) -> None:
        while not self._viewer.closed:
            news = await self._viewer.aget(max(self._tick_at - monotonic(), 0))
            if news:
                await self._deliver(news)
            if monotonic() >= self._tick_at:
                self._tick_at = monotonic() + TICK_SECONDS
                if not self._members:
                    self._end()  # at once: the next connection makes another fan-out
                    return
                await self._tick()

    async def _deliver(self, news: Mapping[str, Progress]) -> None:
        """
        Send the records to the connections of their jobs.

        All are rendered before the first is sent: what is the same work goes together, which the processor does faster.
        """
        reached: list[dict[Connection, None]] = []
        for number, (id, record) in enumerate(news.items(), 1):
            connections = self._connections.get(id)
            if connections is not None:  # else the last viewer has left meanwhile
                rendered = self._last[id] = FanoutRecord(record, self._last.get(id))
                for connection in connections:
                    connection.keep(id, rendered)
                reached.append(connections)
            if number % SLICE == 0:
                await sleep(0)
        now = monotonic()
        for number, connection in enumerate(list(dict.fromkeys(chain.from_iterable(reached))), 1):
            try:
                connection.flush(now)
            except Exception:
                logger.exception(FAILED)
            if number % SLICE == 0:
                await sleep(0)

    async def _tick(self) -> None:
        now = monotonic()
        for number, connection in enumerate(list(self._members), 1):
            try:
                connection.tick(now)
            except Exception:
                logger.exception(FAILED)
            if number % SLICE == 0:
                await sleep(0)
