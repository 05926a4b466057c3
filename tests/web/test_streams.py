"""What a stream holds, and that it lets go of it."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator

import pytest

from progresskit import Kit, ProgressObserver
from progresskit.web import Request, Server, Stream, Surface
from progresskit.web.limiter import ConnectionLimiter


@pytest.fixture
def limiter() -> ConnectionLimiter:
    return ConnectionLimiter()


@pytest.fixture
def kit() -> Iterator[Kit]:
    # The seconds are for a busy machine.
    kit = Kit(
        "memory://",
        allow_anonymous=True,
        secret_key="a secret key that is long enough",
        max_streams=1,
        flush_seconds=30,
        stream_seconds=600,
    )
    yield kit
    kit.close()


@pytest.fixture
def surface(kit: Kit, limiter: ConnectionLimiter) -> Surface:
    return Surface(kit, limiter=limiter)


def stream(surface: Surface, server: Server = Server.THREADS, path: str = "job/events/") -> Stream:
    response = surface.answer(Request("GET", path, "", {}, server))
    assert isinstance(response.body, Stream)
    return response.body


async def async_stream(surface: Surface) -> Stream:
    response = await surface.aanswer(Request("GET", "job/events/", "", {}, Server.LOOP))
    assert isinstance(response.body, Stream)
    return response.body


def test_a_stream_that_never_begins_takes_no_place(surface: Surface, limiter: ConnectionLimiter) -> None:
    never = stream(surface)
    assert limiter.acquired == 0
    never.close()
    never.close()
    assert limiter.acquired == 0


def test_a_stream_gives_its_place_back_once_when_it_is_closed(surface: Surface, limiter: ConnectionLimiter) -> None:
    begun = stream(surface)
    frames = iter(begun)
    assert next(frames) == b"retry: 1000\n\n"
    assert limiter.acquired == 1
    begun.close()
    begun.close()
    assert limiter.acquired == 0
    del frames
    assert limiter.acquired == 0


def test_a_stream_that_is_dropped_gives_its_place_back(surface: Surface, limiter: ConnectionLimiter) -> None:
    begun = stream(surface)
    gone = weakref.ref(begun)
    frames = iter(begun)
    next(frames)
    del begun, frames
    gc.collect()
    assert gone() is None
    assert limiter.acquired == 0


async def test_a_stream_of_a_loop_that_is_cancelled_gives_its_place_back(
    surface: Surface, limiter: ConnectionLimiter
) -> None:
    begun = await async_stream(surface)
    started = asyncio.Event()

    async def read() -> None:
        async for _ in begun:
            started.set()

    task = asyncio.create_task(read())
    await started.wait()
    assert limiter.acquired == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limiter.acquired == 0


async def test_a_stream_of_a_loop_that_is_left_gives_its_place_back(
    surface: Surface, limiter: ConnectionLimiter
) -> None:
    begun = await async_stream(surface)
    async for frame in begun:
        assert frame == b"retry: 1000\n\n"
        break
    begun.close()
    assert limiter.acquired == 0


def test_a_stream_that_finds_no_place_holds_none(kit: Kit, surface: Surface, limiter: ConnectionLimiter) -> None:
    first = stream(surface)
    held = iter(first)
    assert next(held) == b"retry: 1000\n\n"
    assert list(stream(surface)) == [b"retry: 2000\n\n"]
    assert limiter.acquired == 1
    first.close()
    with kit.observe("job"):
        kit.flush()
        frames = iter(stream(surface))
        assert next(frames) == b"retry: 1000\n\n"
        assert b'"state":"running"' in next(frames)


@pytest.mark.parametrize(("server", "places"), [(Server.ONE_BY_ONE, 0), (Server.THREADS, 2), (Server.LOOP, 10_000)])
def test_the_places_of_a_process_depend_on_its_server(server: Server, places: int, limiter: ConnectionLimiter) -> None:
    kit = Kit("memory://", allow_anonymous=True)
    surface = Surface(kit, limiter=limiter)
    limiter.acquired = max(places - 1, 0)
    last, none = iter(stream(surface, server)), iter(stream(surface, server))
    assert next(last) == (b"retry: 1000\n\n" if places else b"retry: 2000\n\n")
    assert next(none) == b"retry: 2000\n\n"
    kit.close()


def test_a_stream_ends_with_its_key(surface: Surface) -> None:
    ttl = 0.5
    while True:
        request = Request("GET", f"{surface.sign('job', ttl=ttl)}/events/", "", {}, Server.LOOP)
        body = surface.answer(request).body
        if isinstance(body, Stream):
            break
        ttl *= 2  # a busy machine took longer than that to come to it
    frames = list(body)
    assert frames[0] == frames[-1] == b"retry: 1000\n\n"
    assert surface.answer(request).status == 404


UPDATES = 200


def test_a_thread_whose_reader_is_slow_has_the_newest_state_and_no_backlog(kit: Kit, surface: Surface) -> None:
    with kit.observe("job") as job:
        kit.flush()
        frames = iter(stream(surface))
        assert [next(frames), current_of(next(frames))] == [b"retry: 1000\n\n", 0]
        report(kit, job)
        seen = [current_of(next(frames))]
        while seen[-1] < UPDATES:
            seen.append(current_of(next(frames)))
    assert len(seen) < UPDATES / 10


async def test_a_loop_whose_reader_is_slow_has_the_newest_state_and_no_backlog(kit: Kit, surface: Surface) -> None:
    with kit.observe("job") as job:
        kit.flush()
        begun = await async_stream(surface)
        frames = aiter(begun)
        assert [await anext(frames), current_of(await anext(frames))] == [b"retry: 1000\n\n", 0]
        await asyncio.to_thread(report, kit, job)
        seen = [current_of(await anext(frames))]
        while seen[-1] < UPDATES:
            seen.append(current_of(await anext(frames)))
        begun.close()
    assert len(seen) < UPDATES / 10


def report(kit: Kit, job: ProgressObserver) -> None:
    """Store so many records of the job, while nobody reads."""
    for _ in range(UPDATES):
        job.advance()
        kit.flush()


def current_of(frame: bytes) -> int:
    (line,) = [line for line in frame.decode().splitlines() if line.startswith("data: ")]
    current: int = json.loads(line.removeprefix("data: "))["current"]
    return current


def test_a_database_is_let_go_of_before_a_thread_waits(kit: Kit, limiter: ConnectionLimiter) -> None:
    calls: list[str] = []
    surface = Surface(kit, limiter=limiter, before_wait=lambda: calls.append("let go"))
    with kit.observe("job"):
        kit.flush()
        surface.answer(Request("GET", "job/", "", {}, Server.THREADS))
        assert calls == []
        etag = f'"{kit.get_many(["job"])["job"].cursor}"'
        held = {"if-none-match": etag, "prefer": "wait=1"}
        surface.answer(Request("GET", "job/", "", held, Server.THREADS))
        assert calls
        calls.clear()
        frames = iter(stream(surface))
        next(frames)
        assert calls == []
        next(frames)
        assert calls
