"""A process of `backend_gone.py`: the loop of twenty jobs, and their viewers; controlled by its standard input."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from threading import Condition
from typing import TYPE_CHECKING, Any, Self

from progresskit import Kit, State

if TYPE_CHECKING:
    from progresskit import Progress, ProgressObserver

JOBS = 20
PATIENCE = 60.0
"""Seconds after which an end that has not arrived counts as lost."""

PLENTY = 1_000_000


class Worker:
    """The process as the benchmark sees it."""

    def __init__(self, url: str, *, limited: bool = False) -> None:
        self._arguments = (url, limited)

    def ask(self, *command: object) -> Any:
        """Send it a command, and return the result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"{command}: the process died"
        return json.loads(answer)

    def __enter__(self) -> Self:
        command = [sys.executable, __file__, json.dumps(self._arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


class Database:
    """An SQLite file with a limit of pages."""

    def __init__(self, url: str) -> None:
        from sqlalchemy import create_engine, event

        from progresskit_sql import SQLBackend

        self._pages = PLENTY
        self._connections: list[sqlite3.Connection] = []
        engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 1})
        event.listen(engine, "connect", self._connected)
        self.backend = SQLBackend(engine)

    def _connected(self, connection: sqlite3.Connection, _record: object) -> None:
        self._connections.append(connection)
        connection.execute(f"PRAGMA max_page_count = {self._pages}")

    def limit_pages(self, count: int) -> None:
        """Allow `count` pages, for present and later connections; SQLite never removes existing ones."""
        self._pages = count
        for connection in list(self._connections):
            with suppress(sqlite3.ProgrammingError):  # one that was closed after a failure
                connection.execute(f"PRAGMA max_page_count = {count}")


class Errors(logging.Handler):
    """Collects logged errors, which no backend should be able to cause."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        logging.getLogger("progresskit").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Loop:
    """The commands of the process; each public method is one."""

    def __init__(self, url: str, limited: bool) -> None:
        self._database = Database(url) if limited else None
        self._kit = Kit(backend=self._database.backend) if self._database else Kit(url)
        self._errors = Errors()
        self._jobs: list[ProgressObserver] = []
        self._counts: list[int] = []
        self._open = ExitStack()
        self._seen: dict[str, Progress] = {}
        self._changed = Condition()

    def open(self, count: int = JOBS) -> None:
        """Start `count` more jobs; each is watched."""
        for number in range(len(self._jobs), len(self._jobs) + count):
            id = f"job-{number}"
            self._kit.subject(id).attach(self._see)
            # A record that is larger than a page of SQLite's: a new one needs pages.
            self._jobs.append(self._open.enter_context(self._kit.observe(id, meta={"about": "x" * 7_000})))
            self._counts.append(0)

    def _see(self, progress: Progress) -> None:
        with self._changed:
            self._seen[progress.id] = progress
            self._changed.notify_all()

    def work(self, rows: int) -> tuple[float, float]:
        """Work on `rows` rows, of one job after the other; return the seconds, and those of CPU of all threads."""
        jobs = self._jobs
        start, cpu = time.perf_counter(), time.process_time()
        for row in range(rows):
            sum(range(row % 64))
            jobs[row % JOBS].advance()
        seconds = time.perf_counter() - start, time.process_time() - cpu
        for job in range(JOBS):
            self._counts[job] += len(range(job, rows, JOBS))
        return seconds

    def is_down(self) -> bool:
        """Return whether the publisher finds the backend gone."""
        return self._kit.publisher.down

    def fill(self) -> None:
        """Leave the database without another page, and begin a job that needs some."""
        assert self._database is not None
        self._database.limit_pages(1)
        self.open(1)

    def empty(self) -> None:
        """Let the database have pages again."""
        assert self._database is not None
        self._database.limit_pages(PLENTY)

    def end(self) -> None:
        """End all jobs."""
        self._open.close()

    def settle(self) -> list[str]:
        """Wait until each end is stored and seen; return the problems."""
        self._kit.flush(PATIENCE)
        with self._changed:
            self._changed.wait_for(lambda: len(self._right(self._seen)) == len(self._counts), PATIENCE)
            seen = self._right(self._seen)
        ids = {f"job-{number}" for number in range(len(self._counts))}
        stored = self._right(self._kit.get_many(ids))
        lost = self._kit.publisher.lost
        return [
            *(f"the end of {id} was not seen" for id in ids - seen),
            *(f"the end of {id} is not stored" for id in ids - stored),
            *([f"{lost} records were given up"] if lost else []),
            *self._errors.lines,
        ]

    def _right(self, records: dict[str, Progress]) -> set[str]:
        """Return the ids of those jobs that ended as they should."""
        ends = {f"job-{number}": (State.SUCCEEDED, count) for number, count in enumerate(self._counts)}
        return {id for id, record in records.items() if (record.state, record.current) == ends[id]}


def main() -> None:
    loop = Loop(*json.loads(sys.argv[1]))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(loop, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
