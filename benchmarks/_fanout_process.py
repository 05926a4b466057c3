"""
One process of `fanout.py`: the jobs, or a server that shows them; Redis is between them.

    python _fanout_process.py jobs URL JOBS
    python _fanout_process.py progresskit|sse-starlette|bare URL 0

A server says where it listens. Each answers a line on its standard input with what it has done and used so far; jobs
that receive `stop` report no more.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from threading import Event, Thread
from time import monotonic, process_time, time
from typing import TYPE_CHECKING, Any

import uvicorn

from progresskit import Kit, Progress, State, bodies
from progresskit.progress import Role, Version, Write, body_starts_with, encode, milliseconds, moment
from progresskit_asgi import ProgressApp
from progresskit_redis import RedisBackend

if TYPE_CHECKING:
    from datetime import datetime

HERTZ = 10
LEASE_SECONDS, TTL_SECONDS = 30.0, 86_400.0


class Jobs:
    """
    Jobs that report ten times a second; each record says when it was made.

    One process writes the records that many workers would write, so it makes them from one, and does not sample jobs.
    """

    def __init__(self, url: str, count: int) -> None:
        self.reported = 0
        self.stop = Event()
        self._backend = RedisBackend(url)
        self._ids = [f"job-{number}" for number in range(count)]
        self._created = moment(time())

    def run(self) -> None:
        due = monotonic()
        while not self.stop.wait(max(due - monotonic(), 0)):
            due = max(due + 1 / HERTZ, monotonic())  # what could not be written in time is not made up for
            self._backend.write(self._records(self.reported + 1))
            self.reported += 1

    def _records(self, number: int) -> list[Write]:
        begun, role = self._created, Role.UPDATE if number > 1 else Role.START
        record = report(number, begun)
        parts = bodies.split(encode(record))
        assert parts is not None
        rest = parts.before.removeprefix(body_starts_with(record.id))
        created = milliseconds(begun)
        return [
            Write(
                id,
                role,
                f"token of {id}",
                1,
                1,
                number,
                State.RUNNING,
                None,
                bodies.join(parts._replace(before=body_starts_with(id) + rest)),
                LEASE_SECONDS,
                TTL_SECONDS,
                created=created,
            )
            for id in self._ids
        ]


def report(number: int, begun: datetime) -> Progress:
    """Return the record of a job that reports for the nth time."""
    return Progress(
        "job-0",
        State.RUNNING,
        Version(1, 1, number),
        current=number,
        total=1_000_000,
        unit="rows",
        description=repr(time()),
        rate=float(HERTZ),
        eta=90_000.5,
        created_at=begun,
        started_at=begun,
        updated_at=moment(time()),
        lease=LEASE_SECONDS,
    )


def sse_starlette(kit: Kit) -> Any:
    """Give the peer's application: a generator for each viewer, woken by one condition for all of them."""
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    latest: dict[str, str] = {}
    changed = asyncio.Condition()
    begun: list[asyncio.Task[None]] = []

    async def follow() -> None:
        async for progress in kit.awatch("job-0"):
            latest["event"] = progress.to_json()
            async with changed:
                changed.notify_all()

    async def events() -> AsyncIterator[dict[str, str]]:
        while True:
            async with changed:
                await changed.wait()
            yield {"event": "progress", "data": latest["event"]}

    async def stream(request: Request) -> EventSourceResponse:
        if not begun:
            begun.append(asyncio.create_task(follow()))
        return EventSourceResponse(events())

    return Starlette(routes=[Route("/progress/{id}/events/", stream)])


class BareSender:
    """The floor: an ASGI application that sends each of its streams ready-made bytes ten times a second."""

    def __init__(self, kit: Kit) -> None:
        record = report(100_000, moment(time()))
        self._event = f"id: {record.cursor}\nevent: progress\ndata: {record.to_json()}\n\n".encode()
        self._sends: list[Any] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._sends.append(send)
        self._task = self._task or asyncio.create_task(self._run())
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _run(self) -> None:
        due = monotonic()
        while True:
            due += 1 / HERTZ
            await asyncio.sleep(max(due - monotonic(), 0))
            for send in self._sends:
                await send({"type": "http.response.body", "body": self._event, "more_body": True})


APPS: dict[str, Any] = {
    "progresskit": lambda kit: ProgressApp(kit=kit),
    "sse-starlette": sse_starlette,
    "bare": BareSender,
}


def used() -> dict[str, float]:
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"cpu": process_time(), "resident": resident}


def run_jobs(url: str, count: int) -> None:
    jobs = Jobs(url, count)
    Thread(target=jobs.run, daemon=True).start()
    for line in sys.stdin:
        if line.strip() == "stop":
            jobs.stop.set()
        print(json.dumps(used() | {"reported": jobs.reported}), flush=True)


def serve(name: str, url: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kit = Kit(url, allow_anonymous=True, max_streams=most)
    app = APPS[name](kit)
    listening = socket.create_server(("127.0.0.1", 0), backlog=4_096)
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", loop="asyncio", http="httptools", ws="none"
    )
    Thread(target=uvicorn.Server(config).run, kwargs={"sockets": [listening]}, daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(json.dumps(used()), flush=True)


if __name__ == "__main__":
    what, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what == "jobs":
        run_jobs(url, count)
    else:
        serve(what, url)
