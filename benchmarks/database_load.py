"""
Eight processes of 25 jobs each that write ten batches a second for a minute, to PostgreSQL and MariaDB.

Each batch also has a report of a part of one job that all processes share, so that they meet at its row. No write may
fail, no record may be lost, and all parts have to be counted. The CPU of the server is printed, without a limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from time import monotonic, sleep
from typing import Any

from backends import fields
from parts import cpu_of

from progresskit.progress import State
from progresskit.testing.parts import report
from progresskit.testing.writes import declare, start, update
from progresskit_sql import SQLBackend
from tests.services import missing
from tests.services.mariadb import MariaDB
from tests.services.postgresql import PostgreSQL

PROCESSES, JOBS, HERTZ, SECONDS = 8, 25, 10, 60
SHARED = "album"
SERVERS: dict[str, Callable[[], Any]] = {
    "postgresql": lambda: PostgreSQL(durable=True),
    "mariadb": lambda: MariaDB(durable=True),
}


def ids(process: int) -> list[str]:
    return [f"job-{process}-{number}" for number in range(JOBS)]


def work(url: str, process: int) -> tuple[int, list[str], float]:
    """Write as a process with live jobs does; return the last number, the failures, and the slowest write (s)."""
    failures, slowest = list[str](), 0.0
    with closing(SQLBackend(url)) as backend:
        backend.write([start(id, **fields(1)) for id in ids(process)])
        began, last = monotonic(), SECONDS * HERTZ + 1
        for seq in range(2, last + 1):
            sleep(max(began + (seq - 1) / HERTZ - monotonic(), 0))
            state = State.SUCCEEDED if seq == last else State.RUNNING
            batch = [update(id, seq, state=state, **fields(seq)) for id in ids(process)]
            part = report(SHARED, f"part-{process}", state, seq, token=f"{process}")
            before = monotonic()
            try:
                backend.write_with_reports(batch, [part])
            except Exception as error:
                failures.append(str(error))
            slowest = max(slowest, monotonic() - before)
    return last, failures, slowest


def measure(name: str) -> bool:
    with SERVERS[name]() as server:
        url = server.fresh()
        with closing(SQLBackend(url)) as backend:
            backend.write([declare(SHARED, size=PROCESSES)])
        before, began = cpu_of(server.pid), monotonic()
        with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
            done = [*pool.map(work, [url] * PROCESSES, range(PROCESSES))]
        cpu, took = cpu_of(server.pid) - before, monotonic() - began
        failures = [failure for _, some, _ in done for failure in some]
        lost = 0
        with closing(SQLBackend(url)) as backend:
            for process, (last, _, _) in enumerate(done):
                records = backend.read(ids(process))
                lost += sum(id not in records or records[id].version.seq != last for id in ids(process))
            shared = backend.read([SHARED])[SHARED]
    counted = shared.parts.succeeded if shared.parts else 0
    slowest = max(slow for *_, slow in done)
    print(
        f"{name:11} {PROCESSES} × {JOBS} jobs, {HERTZ} batches a second, {SECONDS} s: {len(failures)} writes failed, "
        f"{lost} records lost, {counted} of {PROCESSES} parts counted; slowest write "
        f"{slowest * 1e3:.0f} ms; CPU of the server {cpu / took:.0%} in {took:.0f} s",
        flush=True,
    )
    for failure in failures[:3]:
        print(f"  {failure}")
    return not failures and not lost and counted == PROCESSES


def main() -> int:
    wanted = [name for name in SERVERS if not (reason := missing(name)) or print(f"{name} is left out: {reason}")]
    kept = [measure(name) for name in wanted]
    print("met" if all(kept) else "MISSED")
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
