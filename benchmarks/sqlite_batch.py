"""
What a batch of 1,000 records costs through the SQLite backend: at most twice what the driver takes for the same.

The floor is `sqlite3` itself with the same statement, table and settings: executemany over rows made beforehand, in one
transaction. Each round writes the same records to both; the ratio is that of the medians. Told beside it: encoding,
which is no part of either; reading; and both ways of writing beside a thread that computes, where executemany waits
for the interpreter's lock once a row.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import perf_counter, time
from typing import Any

from progresskit.progress import Progress, Write, encode, moment
from progresskit.testing.writes import record, start, update
from progresskit_sql import SQLBackend
from progresskit_sql.sqlite.upserts import Upserts

ROUNDS = 21
BATCH = 1_000
LIMIT = 2.0

Timings = dict[str, list[float]]


def fields(seq: int) -> dict[str, Any]:
    return {
        "current": seq,
        "total": 10_000,
        "unit": "rows",
        "kind": "shop.tasks.import_rows",
        "description": f"Importing row {seq} of ten thousand",
        "meta": {"skipped": seq, "file": "customers.csv"},
        "rate": 123.4,
        "eta": 56.7,
        "started_at": moment(time()),
        "updated_at": moment(time()),
    }


def updates(seq: int, count: int) -> list[Write]:
    return [update(f"job-{number}", seq, **fields(seq)) for number in range(count)]


def encoded(records: list[Progress]) -> list[str]:
    return [encode(progress) for progress in records]


class Floor:
    """The driver and nothing else."""

    def __init__(self, like: Path, path: Path) -> None:
        with closing(sqlite3.connect(like)) as other, closing(sqlite3.connect(path)) as new:
            other.backup(new)
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self._upserts = Upserts('"progresskit_jobs"')

    def prepared(self, batch: list[Write]) -> tuple[str, list[list[Any]]]:
        statements = [statement for write in batch for statement in self._upserts.of([write], time())]
        return statements[0][0], [values for _, values in statements]

    def write(self, sql: str, rows: list[list[Any]]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(sql, rows)
        self.connection.execute("COMMIT")


def clocked(call: Callable[..., object], *arguments: object) -> float:
    began = perf_counter()
    call(*arguments)
    return perf_counter() - began


def rounds(backend: SQLBackend, floor: Floor, seqs: range, count: int) -> Timings:
    timings: Timings = {name: [] for name in ("floor", "write", "read", "read again", "encode")}
    ids = [f"job-{number}" for number in range(count)]
    for seq in seqs:
        batch = updates(seq, count)
        sql, rows = floor.prepared(batch)
        timings["floor"].append(clocked(floor.write, sql, rows))
        timings["write"].append(clocked(backend.write, batch))
        timings["read"].append(clocked(backend.read, ids))
        timings["read again"].append(clocked(backend.read, ids))
        timings["encode"].append(clocked(encoded, [record("job", **fields(seq))] * count))
    return timings


def beside_a_computing_thread(call: Callable[[], Timings]) -> Timings:
    results: list[Timings] = []
    thread = Thread(target=lambda: results.append(call()))
    thread.start()
    number = 0
    while thread.is_alive():
        for _ in range(10_000):
            number += 1
    return results[0]


def tell(timings: Timings, count: int) -> float:
    medians = {name: statistics.median(values) for name, values in timings.items()}
    for name, median in medians.items():
        print(f"  {name:11} {median / count * 1e6:9.2f} µs a record {median * 1e3:9.2f} ms")
    ratio = medians["write"] / medians["floor"]
    print(f"  write / floor: {ratio:.2f}")
    return ratio


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress.db"
        with closing(SQLBackend(f"sqlite:///{path}")) as backend:
            backend.write([start(f"job-{number}", **fields(1)) for number in range(BATCH)])
            floor = Floor(path, Path(folder) / "floor.db")
            with closing(floor.connection):
                rounds(backend, floor, range(2, 5), BATCH)  # statements are prepared, files grow
                print(f"a batch of {BATCH}, SQLite {sqlite3.sqlite_version}:")
                ratio = tell(rounds(backend, floor, range(5, 5 + ROUNDS), BATCH), BATCH)
                print("a batch of 200, beside a thread that computes:")
                tell(beside_a_computing_thread(lambda: rounds(backend, floor, range(90, 93), 200)), 200)
    print(f"ratio to sqlite3: {ratio:.2f}; limit {LIMIT}")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
