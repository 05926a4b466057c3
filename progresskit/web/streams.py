"""Server-Sent Events: one job on a connection, or many."""

from __future__ import annotations

import math
from time import monotonic, time
from typing import TYPE_CHECKING

from progresskit.errors import BackendError

from . import wsgi
from .calls import run
from .events import COMMENT, CROWDED_RETRY_MS, EventEncoder, retry_event
from .rendering import RenderedRecord
from .request import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from progresskit.hub import Viewer
    from progresskit.progress import Progress

    from .context import Jobs, RequestContext

CUTOFF_SECONDS = 1.0
"""So long after its end a stream is cut off that still holds a thread, as its client reads nothing."""


class Stream:
    """
    The body of a stream, to be iterated as the server does it: with `for` where it has threads, else `async for`.

    Nothing is held before the first step, and `close()` lets go of all; so does dropping it. A stream that finds no
    place sends the present state and ends. A shim that writes to many viewers from one task takes over what it needs
    instead: `context`, `jobs`, `encoder` and `client`.
    """

    comment_seconds = 15.0
    """A stream without news sends a comment this often, so that proxies keep it open."""

    def __init__(self, context: RequestContext, jobs: Jobs, seen: str | None) -> None:
        self.context, self.jobs = context, jobs
        self.encoder = EventEncoder(context, jobs, seen)
        self.client = context.client(jobs.user)
        self._viewer: Viewer | None = None
        self._has_place = False
        self._cutoff: object = None

    def __iter__(self) -> Iterator[bytes]:
        if self.context.request.abort is not None:
            self._cutoff = wsgi.PROCESS.add(self.context.request.abort, self._end() + CUTOFF_SECONDS)
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
        cutoff, self._cutoff = self._cutoff, None
        if cutoff is not None:
            wsgi.PROCESS.remove(cutoff)
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            viewer.close()
        had_place, self._has_place = self._has_place, False
        if had_place:
            self.context.release(self.client)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def acquire(self) -> bool:
        """Take a place of the limiter, which `close` gives back; return False where there is none."""
        self._has_place = self._has_place or self.context.acquire(self.client)
        return self._has_place

    async def snapshot(self) -> bytes:
        """Return the body of a stream that found no place: the present state, and when to reconnect."""
        try:
            found = await self.context.look(self.jobs.ids)
        except BackendError:
            found = {}  # the answer has begun; the browser comes again soon
        frames = self.encoder.opening(CROWDED_RETRY_MS) + self.encoder.encode(found)
        while self.encoder.held:
            await self.encoder.recheck()
            frames += self.encoder.encode({})
        return frames

    async def _frames(self) -> AsyncIterator[bytes]:
        if not self.acquire():
            yield await self.snapshot()
            return
        viewer = self._viewer = self.context.kit.hub.view(self.jobs.ids)
        end = self._end()
        yield self.encoder.opening()
        while self.encoder.unfinished and (left := end - monotonic()) > 0:
            news = await self.context.calls.news(viewer, min(left, self.comment_seconds))
            if viewer.closed:
                break
            frames = self._encoded(news) if news else COMMENT
            if frames:
                yield frames
            while self.encoder.held:
                await self.encoder.recheck()
                self.context.calls.release()
                if frames := self.encoder.encode({}):
                    yield frames
        if self.encoder.unfinished or self.encoder.is_refused:
            yield retry_event()

    def _encoded(self, news: dict[str, Progress]) -> bytes:
        return self.encoder.encode({id: RenderedRecord(record) for id, record in news.items()})

    def _end(self) -> float:
        """Return when to close, by the monotonic clock: a stream may hold a thread for some time, and a key expires."""
        threaded = self.context.request.server is not Server.LOOP
        limit = self.context.settings.stream_seconds if threaded else math.inf
        return monotonic() + min(limit, self.jobs.expires - time())
