"""Server-Sent Events: one job on a connection, or many."""

from __future__ import annotations

import json
import math
from time import monotonic, time
from typing import TYPE_CHECKING

from progresskit.errors import BackendError

from .calls import run
from .fragments import fragment
from .http import Response, Server, empty, refused
from .records import bad_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from progresskit.hub import Viewer
    from progresskit.progress import Progress

    from .exchange import Exchange, Jobs

COMMENT_SECONDS = 15.0
"""A quiet stream says so often that it is there."""

RETRY_MS = 1_000
CROWDED_RETRY_MS = 2_000
"""So soon a browser comes back where there was no place: it polls."""

END = "end"
"""The id after which a stream of many jobs has nothing more to tell."""

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
    if seen and await _has_seen_all(exchange, jobs, seen):
        return empty(204, Cache_Control="no-store")
    return Response(200, HEADERS, Stream(exchange, jobs, seen))


async def _has_seen_all(exchange: Exchange, jobs: Jobs, seen: str) -> bool:
    if not jobs.single:
        return seen == END
    found = await exchange.calls.get_many(jobs.ids)
    return any(record.done and record.cursor == seen for record in found.values())


class Stream:
    """
    The body of a stream, to be iterated as the server does it: with `for` where it has threads, else `async for`.

    Nothing is held before the first step, and `close()` lets go of all; so does dropping it. A stream that finds no
    place tells what there is, and ends.
    """

    def __init__(self, exchange: Exchange, jobs: Jobs, seen: str | None) -> None:
        self._exchange, self._jobs, self._seen = exchange, jobs, seen
        self._unfinished = set(jobs.ids)
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
            self._exchange.budget.give_back()

    def __del__(self) -> None:
        self.close()

    async def _frames(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        self._has_place = exchange.budget.take(exchange.stream_limit)
        if not self._has_place:
            yield _retry(CROWDED_RETRY_MS) + self._refusals() + self._told(await self._present())
            return
        viewer = self._viewer = exchange.kit.hub.view(self._jobs.ids)
        end = self._end()
        yield _retry(RETRY_MS) + self._refusals()
        while self._unfinished and (left := end - monotonic()) > 0:
            news = await exchange.calls.news(viewer, min(left, COMMENT_SECONDS))
            if viewer.closed:
                break
            frames = self._told(news) if news else b":\n\n"
            if frames:
                yield frames
        if self._unfinished:
            yield _retry(RETRY_MS)

    async def _present(self) -> dict[str, Progress]:
        try:
            return await self._exchange.calls.get_many(self._jobs.ids)
        except BackendError:
            return {}  # the answer has begun; the browser comes again soon

    def _end(self) -> float:
        """Return when to close, by the monotonic clock: a thread is lent for a time only, and a key is good for one."""
        threaded = self._exchange.request.server is not Server.LOOP
        lent = self._exchange.settings.stream_seconds if threaded else math.inf
        return monotonic() + min(lent, self._jobs.expires - time())

    def _refusals(self) -> bytes:
        """Tell which keys open nothing, and the end where there are no others."""
        told: list[tuple[str | None, str | None]] = []
        if not self._html:
            told += [(_job_of(name, "null"), None) for name, id in self._jobs.names.items() if id is None]
        return self._joined(told, ended=not self._jobs.ids)

    def _told(self, news: dict[str, Progress]) -> bytes:
        """Tell of the records that the browser has not seen."""
        told: list[tuple[str | None, str | None]] = []
        for id, record in news.items():
            (self._unfinished.discard if record.done else self._unfinished.add)(id)
            if self._jobs.single and record.cursor == self._seen:
                continue
            told += self._told_of(id, record)
        return self._joined(told, ended=bool(news) and not self._unfinished)

    def _told_of(self, id: str, record: Progress) -> list[tuple[str | None, str | None]]:
        shown = self._exchange.shown(record)
        data = fragment(shown) if self._html else shown.to_json()
        if self._jobs.single:
            return [(data, record.cursor)]
        if self._html:
            return [(data, None)]
        return [(_job_of(name, data), None) for name, named in self._jobs.names.items() if named == id]

    def _joined(self, told: list[tuple[str | None, str | None]], ended: bool) -> bytes:
        """Return the events, the last one with the id of the end where that is reached."""
        if ended and not self._jobs.single:
            told[-1:] = [(told[-1][0] if told else None, END)]
        return "".join(_event(data, id) for data, id in told).encode("utf-8", "replace")

    @property
    def _html(self) -> bool:
        return self._exchange.query.form == "html"


def _event(data: str | None, id: str | None) -> str:
    # JSON and our HTML are one line each, so nothing has to be split.
    head = "" if id is None else f"id: {id}\n"
    return f"{head}\n" if data is None else f"{head}event: progress\ndata: {data}\n\n"


def _job_of(name: str, record: str) -> str:
    return f'{{"key":{json.dumps(name)},"job":{record}}}'


def _retry(milliseconds: int) -> bytes:
    return f"retry: {milliseconds}\n\n".encode()
