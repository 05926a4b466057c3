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

from .messages import Told
from .rechecks import Rechecks

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Iterable, Mapping

    from progresskit.hub import Hub
    from progresskit.progress import Progress

    from .lines import Line

logger = logging.getLogger("progresskit.web")

TICK_SECONDS = 1.0
"""How often it is looked who has been quiet for long, whose key has expired, and whether there is anybody."""

SLICE = 250
"""After so many connections others of the loop have their turn."""


class Fanout:
    """
    Tells all connections of the loop it was made in.

    It ends, and ends them, by `close`, when the kit is closed, and when its loop ends; and by itself when nobody is
    left.
    """

    def __init__(self, hub: Hub) -> None:
        self._viewer = hub.view(())
        self._members: dict[Line, None] = {}
        self._lines: dict[str, dict[Line, None]] = {}
        self._last: dict[str, Told] = {}
        self._rechecks = Rechecks(self.drop)
        self._on_held = self._rechecks.add  # one object for all connections
        self._tick_at = monotonic() + TICK_SECONDS
        self.closed = False
        # The task outlives the request it is made in, and takes nothing of it along.
        self._task = create_task(self._run(), name="progresskit-fanout", context=Context())
        self._task.add_done_callback(self._stopped)

    @property
    def serves(self) -> bool:
        """Whether it still tells: not when the kit was closed, even if it has not come to know that yet."""
        return not self.closed and not self._viewer.closed

    def join(self, line: Line) -> None:
        """Tell this connection as well, until it leaves; of no job so far, or of those it begins with."""
        self._members[line] = None
        line.on_held = self._on_held
        self.add(line, line.ids)

    def leave(self, line: Line) -> None:
        """Tell this connection no more."""
        line.leave()
        self._members.pop(line, None)
        self.drop(line, line.ids)

    def add(self, line: Line, ids: Iterable[str]) -> None:
        """Tell the connection of these jobs from now on, at once what is known of them."""
        new = []
        for id in ids:
            lines = self._lines.get(id)
            if lines is None:
                lines = self._lines[id] = {}
                new.append(id)
            lines[line] = None
            if id in self._last:
                line.keep(id, self._last[id])
        if new:
            self._viewer.add(new)
        line.pump(monotonic())

    def drop(self, line: Line, ids: Iterable[str]) -> None:
        """Tell the connection no more of these jobs."""
        gone = []
        for id in ids:
            lines = self._lines.get(id)
            if lines is None or line not in lines:
                continue
            del lines[line]
            if not lines:
                del self._lines[id]
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
            for line in list(self._members):
                _guarded(line.end)

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
                    self._end()  # here and now: whoever comes next makes another
                    return
                await self._tick()

    async def _deliver(self, news: Mapping[str, Progress]) -> None:
        reached: list[dict[Line, None]] = []
        for id, record in news.items():
            lines = self._lines.get(id)
            if lines is not None:  # else the last viewer has left meanwhile
                told = self._last[id] = Told(record, self._last.get(id))
                for line in lines:
                    line.keep(id, told)
                reached.append(lines)
        now = monotonic()
        for number, line in enumerate(list(dict.fromkeys(chain.from_iterable(reached))), 1):
            _guarded(line.pump, now)
            if number % SLICE == 0:
                await sleep(0)

    async def _tick(self) -> None:
        now = monotonic()
        for number, line in enumerate(list(self._members), 1):
            _guarded(line.tick, now)
            if number % SLICE == 0:
                await sleep(0)


def _guarded(call: Callable[..., None], *arguments: float) -> None:
    """Make a call, so that what fails for one connection is seen and is nothing to the others."""
    try:
        call(*arguments)
    except Exception:
        logger.exception("a viewer could not be told of progress")
