"""Server-Sent Events: one job on a connection, or many."""

from __future__ import annotations

import math
from time import monotonic, time
from typing import TYPE_CHECKING

from progresskit.errors import BackendError

from .calls import run
from .http import Response, Server, empty, refused
from .records import bad_keys
from .telling import COMMENT, CROWDED_RETRY_MS, END, RETRY_MS, Shown, Telling, retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from progresskit.hub import Viewer
    from progresskit.progress import Progress

    from .exchange import Exchange, Jobs

COMMENT_SECONDS = 15.0
"""A quiet stream says so often that it is there."""

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    # What has an encoding is not compressed on its way (Django's GZipMiddleware, nginx), and so not held back either.
    "Content-Encoding": "identity",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


async def stream(exchange: Exchange, key: str) -> Response:
    """Answer `GET KEY/events/`."""
    jobs = await exchange.open(key)
    if jobs is None:
        return refused()
    return await _open(exchange, jobs)


async def streams(exchange: Exchange) -> Response:
    """Answer `GET events/?key=A&key=B`."""
    jobs = await exchange.open_all()
    if jobs is None:
        return bad_keys()
    return await _open(exchange, jobs)


async def _open(exchange: Exchange, jobs: Jobs) -> Response:
    seen = exchange.request.headers.get("last-event-id") or exchange.query.last_event_id
    if seen:
        if jobs.single:
            jobs, found = await exchange.admit(jobs, await exchange.look(jobs.ids))
            if jobs.are_refused:
                return refused()
            ended = any(shown.record.done and shown.record.cursor == seen for shown in found.values())
        else:
            ended = seen == END
        if ended:
            return empty(204, Cache_Control="no-store")
    return Response(200, HEADERS, Stream(exchange, jobs, seen))


class Stream:
    """
    The body of a stream, to be iterated as the server does it: with `for` where it has threads, else `async for`.

    Nothing is held before the first step, and `close()` lets go of all; so does dropping it. A stream that finds no
    place tells what there is, and ends.
    """

    def __init__(self, exchange: Exchange, jobs: Jobs, seen: str | None) -> None:
        self.exchange, self.jobs = exchange, jobs
        self.telling = Telling(exchange, jobs, seen)
        self.client = exchange.client(jobs.user)
        self._viewer: Viewer | None = None
        self._has_place = False

    def __iter__(self) -> Iterator[bytes]:
        frames = self._frames()
        try:
            while True:
                yield run(anext(frames))
        except StopAsyncIteration:
            pass
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for frame in self._frames():
                yield frame
        finally:
            self.close()

    def close(self) -> None:
        """Give the place back and watch no longer."""
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            viewer.close()
        had_place, self._has_place = self._has_place, False
        if had_place:
            self.exchange.budget.give_back(self.client)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def take_place(self) -> bool:
        """Take a place of the process's budget, which `close` gives back; return False where there is none."""
        self._has_place = self._has_place or self.exchange.take_place(self.client)
        return self._has_place

    async def glance(self) -> bytes:
        """Return all that a stream tells that found no place: what there is, and when to come back."""
        try:
            found = await self.exchange.look(self.jobs.ids)
        except BackendError:
            found = {}  # the answer has begun; the browser comes again soon
        frames = self.telling.opening(CROWDED_RETRY_MS) + self.telling.told(found)
        while self.telling.held:
            await self.telling.recheck()
            frames += self.telling.told({})
        return frames

    async def _frames(self) -> AsyncIterator[bytes]:
        if not self.take_place():
            yield await self.glance()
            return
        viewer = self._viewer = self.exchange.kit.hub.view(self.jobs.ids)
        end = self._end()
        yield self.telling.opening()
        while self.telling.unfinished and (left := end - monotonic()) > 0:
            news = await self.exchange.calls.news(viewer, min(left, COMMENT_SECONDS))
            if viewer.closed:
                break
            frames = self._told(news) if news else COMMENT
            if frames:
                yield frames
            while self.telling.held:
                await self.telling.recheck()
                self.exchange.calls.release()
                if frames := self.telling.told({}):
                    yield frames
        if self.telling.unfinished or self.telling.is_refused:
            yield retry(RETRY_MS)

    def _told(self, news: dict[str, Progress]) -> bytes:
        return self.telling.told({id: Shown(record) for id, record in news.items()})

    def _end(self) -> float:
        """Return when to close, by the monotonic clock: a thread is lent for a time only, and a key is good for one."""
        threaded = self.exchange.request.server is not Server.LOOP
        lent = self.exchange.settings.stream_seconds if threaded else math.inf
        return monotonic() + min(lent, self.jobs.expires - time())
