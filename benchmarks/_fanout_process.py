"""
One process of `fanout.py`: the jobs, or a server that shows them; Redis is between them.

    python _fanout_process.py jobs URL JOBS
    python _fanout_process.py progresskit|sse-starlette URL 0

A server says where it listens. Each answers a line on its standard input with what it has done and used so far; jobs
that are told `stop` report no more.
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
from typing import Any

import uvicorn

from progresskit import Kit
from progresskit_asgi import ProgressApp

HERTZ = 10


class Jobs:
    """Jobs that report ten times a second; each record says when it was made."""

    def __init__(self, kit: Kit, count: int) -> None:
        self.reported = 0
        self.stop = Event()
        self._observers = [kit.observe(f"job-{number}", total=1_000_000, unit="rows") for number in range(count)]

    def run(self) -> None:
        due = monotonic()
        while not self.stop.wait(max(due - monotonic(), 0)):
            due += 1 / HERTZ
            self.reported += 1
            for observer in self._observers:
                observer.set_progress(self.reported, description=repr(time()))


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


def used() -> dict[str, float]:
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"cpu": process_time(), "resident": resident}


def run_jobs(url: str, count: int) -> None:
    # Each report is to be stored, so that it can be counted who got it.
    jobs = Jobs(Kit(url, interval=0.4 / HERTZ), count)
    Thread(target=jobs.run, daemon=True).start()
    for line in sys.stdin:
        if line.strip() == "stop":
            jobs.stop.set()
        print(json.dumps(used() | {"reported": jobs.reported}), flush=True)


def serve(name: str, url: str) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kit = Kit(url, allow_anonymous=True, max_streams=most)
    app: Any = ProgressApp(kit=kit) if name == "progresskit" else sse_starlette(kit)
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
