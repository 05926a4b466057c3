"""
The duration of an ordinary page while fifty others watch a job, compared with the same page without them.

The site is a Django on gunicorn, two workers of four threads, with progresskit's default settings. Two threads of each
worker serve streams, the other pages poll at the server's interval. The job moves all the time. The fifty come and go
in turns, in a process of their own, so that both are measured under the same conditions.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING, NamedTuple

from progresskit import Kit
from progresskit.web import Surface
from tests.end_to_end.visitors import Visitor, visiting
from tests.services.ports import free_port
from tests.services.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from progresskit import ProgressObserver

ROUNDS, SLICE_SECONDS = 5, 6.0
PAUSE_SECONDS = 0.01
PAGES, WORKERS, THREADS = 50, 2, 4
COME_SECONDS = 4.0
GOAL = 3.0
SECRET_KEY = "the secret of this site, long enough for it"
HERE = Path(__file__).parent


class Crowd(NamedTuple):
    """The requests of the pages while they were open."""

    held: int
    """How many streams were open in the end."""
    polls: float
    """How often a second the others came."""


def visit(url: str, key: str, control: Connection) -> None:
    """Open and close the pages on command, in a process of its own."""
    while control.recv():
        asyncio.run(_stay(url, key, control))


async def _stay(url: str, key: str, control: Connection) -> None:
    visitors = [Visitor(url, key) for _ in range(PAGES)]
    async with visiting(visitors, within=COME_SECONDS / 2):
        await asyncio.sleep(COME_SECONDS)
        before, began = sum(visitor.streams for visitor in visitors), perf_counter()
        control.send(None)
        await asyncio.to_thread(control.recv)
        streams, seconds = sum(visitor.streams for visitor in visitors) - before, perf_counter() - began
        assert all(visitor.job for visitor in visitors), "a page is without progress"
        held = sum(visitor.held for visitor in visitors)
    control.send(Crowd(held, streams / seconds))


def ask(port: int) -> float:
    """Return the seconds that the page took."""
    began = perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    return perf_counter() - began


def measure(port: int) -> list[float]:
    """Ask again and again for a slice of time."""
    end, taken = perf_counter() + SLICE_SECONDS, list[float]()
    while perf_counter() < end:
        taken.append(ask(port))
        sleep(PAUSE_SECONDS)
    return taken


@contextmanager
def served(redis: Redis, folder: Path) -> Iterator[int]:
    """Run the site; give its port."""
    database = folder / "orders.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE orders (number INTEGER, customer TEXT, amount REAL)")
        rows = [(number, f"Customer No. {number % 97}", number * 7919 % 10_007 / 7) for number in range(2_000)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    port = free_port()
    command = ["gunicorn", "-w", str(WORKERS), "--threads", str(THREADS), "--log-level", "error"]
    words = [sys.executable, "-m", *command, "-b", f"127.0.0.1:{port}", "_busy_site:wsgi"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "BUSY_URL": redis.url,
        "BUSY_DATABASE": str(database),
    }
    with subprocess.Popen(words, cwd=HERE, env=environment) as process:
        try:
            while not answers(port):
                assert process.poll() is None, "the server does not come up"
                sleep(0.1)
            yield port
        finally:
            process.terminate()


def answers(port: int) -> bool:
    """Return whether the site answers."""
    try:
        return ask(port) > 0
    except OSError:
        return False


@contextmanager
def moving(observer: ProgressObserver) -> Iterator[None]:
    """Let the job move faster than its updates are sent."""
    over = Event()

    def move() -> None:
        while not over.wait(0.02):
            observer.advance()

    thread = Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def report(name: str, taken: list[float]) -> float:
    """Print how long the page took, and return the 99th percentile in seconds."""
    high = statistics.quantiles(taken, n=100)[98]
    print(f"{name}: {len(taken)} requests, median {statistics.median(taken) * 1e3:.1f} ms, 99 % {high * 1e3:.1f} ms")
    return high


def main() -> int:
    idle, busy, crowds = list[float](), list[float](), list[Crowd]()
    with ExitStack() as stack:
        redis = stack.enter_context(Redis())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kit = stack.enter_context(closing(Kit(redis.url, secret_key=SECRET_KEY)))
        observer = stack.enter_context(kit.observe("job", total=1_000_000, description="Importing"))
        kit.flush()
        port = stack.enter_context(served(redis, folder))
        stack.enter_context(moving(observer))
        context = multiprocessing.get_context("spawn")
        control, child = context.Pipe()
        arguments = (f"http://127.0.0.1:{port}", Surface(kit).sign("job"), child)
        process = context.Process(target=visit, args=arguments, daemon=True)
        process.start()
        child.close()
        for _ in range(ROUNDS):
            idle += measure(port)
            control.send(True)
            control.recv()
            busy += measure(port)
            control.send(None)
            crowds.append(control.recv())
        control.send(False)
        process.join()
    before, after = report("nobody looks", idle), report(f"{PAGES} pages look", busy)
    held = [crowd.held for crowd in crowds]
    polls = statistics.median(crowd.polls for crowd in crowds)
    print(f"held streams at the end of each turn: {held}; all other pages together came {polls:.0f} times a second")
    ratio = after / before
    print(f"99th percentile: {ratio:.2f} of that without; under {GOAL:g}: {'met' if ratio < GOAL else 'MISSED'}")
    return int(ratio >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
