"""
What a job loses while its backend is gone, beside the same job with a backend that works.

A pair is two loops of the same work, some ten seconds each, in random order: one with a backend that answers, one whose
SQLite file another process holds locked EXCLUSIVE for five seconds, or which has no page left for as long. What is told
is the median over the pairs of their ratio. Nothing may be raised in a loop, the publisher must have found the backend
gone, and after it the final state has to arrive.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event

from progresskit import Kit, State
from progresskit_sql import SQLBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

PAIRS = 5
LOOP_SECONDS, GONE_SECONDS = 10.0, 5.0
LIMIT = 0.05
PLENTY = 1_000_000

LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


class Database:
    """A kit on a SQLite file whose pages can be limited."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pages = PLENTY
        self._connections: list[sqlite3.Connection] = []
        engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 1})
        event.listen(engine, "connect", self._connected)
        self.kit = Kit(backend=SQLBackend(engine))

    def _connected(self, connection: sqlite3.Connection, _record: object) -> None:
        self._connections.append(connection)
        connection.execute(f"PRAGMA max_page_count = {self._pages}")

    def limit_pages(self, count: int) -> None:
        """Allow so many pages, in what is connected and in what will be; SQLite never takes those that there are."""
        self._pages = count
        for connection in list(self._connections):
            with suppress(sqlite3.ProgrammingError):  # one that was closed after a failure
                connection.execute(f"PRAGMA max_page_count = {count}")


@contextmanager
def present(database: Database) -> Iterator[None]:
    yield


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Have another process lock the file, from a second after the loop began."""

    def hold() -> None:
        time.sleep(1)
        command = [sys.executable, "-c", LOCK, str(database.path), str(GONE_SECONDS)]
        subprocess.run(command, check=True, capture_output=True)

    with in_background(hold), seen_gone(database.kit):
        yield


@contextmanager
def full(database: Database) -> Iterator[None]:
    """Leave the database without another page, from before the loop begins."""
    database.limit_pages(1)

    def release() -> None:
        time.sleep(GONE_SECONDS)
        database.limit_pages(PLENTY)

    with in_background(release), seen_gone(database.kit):
        yield


@contextmanager
def in_background(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


@contextmanager
def seen_gone(kit: Kit) -> Iterator[None]:
    """Make sure that the publisher found the backend gone at some time."""
    over, seen = threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            if kit.publisher.down:
                seen.set()

    with in_background(look):
        yield
        over.set()
    assert seen.is_set(), "the backend was never gone"


def work(kit: Kit, id: str, rows: int) -> float:
    """Do the work and report each row; return its seconds, without the job's end."""
    # The record is larger than a page, so that a new one needs pages.
    with kit.observe(id, total=rows, meta={"about": "x" * 7_000}) as observer:
        start = time.perf_counter()
        for row in range(rows):
            sum(range(row % 64))
            observer.advance()
        return time.perf_counter() - start


def timed(database: Database, id: str, rows: int, fault: Callable[[Database], AbstractContextManager[None]]) -> float:
    with fault(database):
        seconds = work(database.kit, id, rows)
    database.kit.flush(10)
    progress = database.kit.get(id)
    assert progress is not None
    assert (progress.state, progress.current) == (State.SUCCEEDED, rows), progress
    return seconds


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder, "progress.db"))
        rows = 200_000
        rows = int(rows * LOOP_SECONDS / work(database.kit, "how-fast", rows))
        met = []
        for fault in (locked, full):
            ratios = []
            for pair in range(PAIRS):
                order = random.sample((present, fault), 2)
                seconds = {
                    each: timed(database, f"{fault.__name__}-{pair}-{each.__name__}", rows, each) for each in order
                }
                ratios.append(seconds[fault] / seconds[present])
            lost = statistics.median(ratios) - 1
            met.append(lost <= LIMIT)
            print(
                f"{fault.__name__:7} {lost:+.1%} in the median of {PAIRS} pairs, at most {LIMIT:+.0%}; each end arrived"
            )
        database.kit.close()
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
