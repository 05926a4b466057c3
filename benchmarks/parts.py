"""
A job of 10,000 parts: what its workers, its viewers and its store pay, compared with plain records and celery-progress.

Eight workers in processes of their own report ten times a second; a viewer in this process sees the job rise to its
exact end. Then the requests and the time of reading it are compared with those of a plain record that changes as often,
and a part's report with the write of such a record: they are timed in turn, and the fastest of each counts. The CPU, of
client and server, is compared with that of a job with ten times as many parts. The backends are those of the contract
tests, on servers private to this run; name some to measure only them. With Redis, celery-progress's view of a group of
as many tasks is asked as well.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import monotonic, perf_counter, process_time, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from _group_peer import Peer, falls, percents
from _meters import metered
from _part_worker import STEPS, THREADS

from progresskit import Kit, Progress, State
from progresskit.abc import SupportsParts
from progresskit.start_tokens import new_token
from progresskit.testing import PartsContract, start, update
from progresskit.testing.parts import report
from progresskit.testing.writes import declare
from tests.contract.backends import BACKENDS, Row
from tests.services import server
from tests.services.redis import Redis
from tests.services.waiting import wait_until

if TYPE_CHECKING:
    from progresskit.abc import Backend
    from progresskit.parts import Report

PARTS, WORKERS, MANY = 10_000, 8, 100_000
ROOT = "album"
ROOTS, ROOTS_SECONDS = 100, 3.0
ROUNDS, CALLS, BATCH = 15, 40, 100
READ_LIMIT, WRITE_LIMIT, BYTES_LIMIT, CPU_LIMIT = 1.5, 1.5, 250, 1.3
WORKER = Path(__file__).with_name("_part_worker.py")
TICKS = os.sysconf("SC_CLK_TCK")

# The whole job, with its workers and a viewer.


class Viewer:
    """Watches the job, and counts the reads of its kit and the events that a page would get."""

    def __init__(self, url: str) -> None:
        self.records: list[Progress] = []
        self.kit = Kit(url)
        self.reads = counted_reads(self.kit.backend)
        self.thread = Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        self.records.extend(self.kit.watch(ROOT))


def counted_reads(backend: Backend) -> list[int]:
    """Return a list to which each read of a backend adds how many records it asks for."""
    counted, read = list[int](), backend.read

    def reading(ids: Any) -> dict[str, Progress]:
        counted.append(len(ids))
        return read(ids)

    backend.read = reading  # type: ignore[method-assign]
    return counted


def run(url: str) -> Iterator[tuple[str, bool]]:
    """Run the job with its workers and a viewer, and yield what it has shown."""
    with closing(Kit(url)) as kit:
        kit.group(ROOT, size=PARTS, unit="pictures")
        viewer, began = Viewer(url), monotonic()
        each = PARTS // WORKERS
        commands = [[sys.executable, str(WORKER), url, ROOT, str(first), str(each)] for first in range(0, PARTS, each)]
        paths = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # where an app of Celery lies
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) for command in commands]
        cpu = sum(float(worker.communicate()[0]) for worker in workers)
        viewer.thread.join(30)
        seconds, settings, records = monotonic() - began, kit.settings, viewer.records
        viewer.kit.close()
    last, shown = records[-1], [progress.percent or 0 for progress in records]
    exact = last.state is State.SUCCEEDED and last.current == PARTS and shown == sorted(shown)
    yield (
        f"{PARTS:,} parts, {WORKERS} workers with {THREADS} at once, {seconds:.1f} s: {PARTS * STEPS / seconds:,.0f} "
        f"counts a second, {cpu / PARTS * 1e6:.0f} µs CPU a part in its worker; percents rise to the exact end",
        exact,
    )
    intervals = seconds / settings.interval
    yield (
        f"a viewer: {len(records)} events and {len(viewer.reads)} reads in {intervals:.0f} intervals, at most 1 each",
        max(len(records), len(viewer.reads)) <= intervals + 4,  # declared, started, ended, and the first read
    )


def watch_many(row: Row, url: str) -> Iterator[tuple[str, bool]]:
    """Watch one job and then many, and yield the reads of each interval."""
    with closing(Kit(url)) as kit:
        backend = cast("Any", kit.backend)
        ids = [f"root-{number}" for number in range(ROOTS)]
        backend.write_with_reports([declare(id, 9) for id in ids], [report(id, "a", hundredths=1) for id in ids])
        rates = []
        for watched in (ids[:1], ids):
            with metered(row.name) as meter, closing(Kit(url)) as watching, watching.viewer(*watched) as viewer:
                seen = set[str]()
                while len(seen) < len(watched):
                    seen.update(viewer.get(30))
                sleep(1)
                reads, before = counted_reads(watching.backend), meter.total() if meter else 0
                began = monotonic()
                sleep(ROOTS_SECONDS)
                intervals = (monotonic() - began) / watching.settings.interval
                rates.append(((meter.total() - before if meter else 0) / intervals, len(reads) / intervals))
    (one, reads_of_one), (many, reads_of_many) = rates
    yield (
        f"watching: {reads_of_one:.2f} reads and {one:.2f} requests an interval for one job with parts, "
        f"{reads_of_many:.2f} and {many:.2f} for {ROOTS}, at most 1 read",
        reads_of_many <= 1.1,
    )


# Costs beside those of a plain record.


def timed(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


class Plain:
    """A plain record that changes, and a part that does."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.parts = backend, cast("SupportsParts", backend)
        self.seq = 2
        backend.write([start(f"plain-{number}") for number in range(BATCH)])
        self.parts.write_with_reports([declare("job", PARTS)], [])

    def write(self, count: int) -> None:
        """Write records."""
        self.seq += 1
        self.writes = [update(f"plain-{number}", self.seq, current=self.seq, total=9_999) for number in range(count)]

    def report(self, count: int) -> None:
        """Report parts."""
        self.seq += 1
        self.reports = [report("job", f"chunk-{number:06}", hundredths=self.seq % 9_999) for number in range(count)]


def read_costs(row: Row, url: str) -> Iterator[tuple[str, bool]]:
    """Read the job after each change, and a plain record after each of its own, as JSON."""
    with closing(Kit(url)) as kit:
        plain, backend = Plain(kit.backend), kit.backend
        fill(plain.parts, "job", PARTS - BATCH, BATCH)
        took = [list[tuple[float, float]](), list[tuple[float, float]]()]
        ids = ("job", "plain-0")
        for _ in range(ROUNDS * CALLS):
            plain.write(1)
            plain.report(1)
            plain.parts.write_with_reports(plain.writes, plain.reports)
            for id, values in zip(ids, took, strict=True):
                began = perf_counter()
                record = backend.read([id])[id]
                read = perf_counter()
                record.to_json()
                values.append((read - began, perf_counter() - read))
        asked = []
        for id in ids:
            backend.close()
            with metered(row.name) as meter:
                backend.read(["other"])
                before = meter.total() if meter else 0
                backend.read([id])
                asked.append(meter.total() - before if meter else 0)
    (read_job, encode_job), (read_plain, encode_plain) = (map(min, zip(*values, strict=True)) for values in took)
    ratio = (read_job + encode_job) / (read_plain + encode_plain)
    yield (
        f"reading it: {asked[0]} request, {read_job * 1e6:.0f} µs and {encode_job * 1e6:.0f} for its JSON; a plain "
        f"record: {asked[1]}, {read_plain * 1e6:.0f} and {encode_plain * 1e6:.0f}: {ratio:.2f} times, "
        f"at most {READ_LIMIT}",
        asked[0] == asked[1] and ratio <= READ_LIMIT,
    )


def write_costs(url: str) -> Iterator[tuple[str, bool]]:
    """Report parts and write plain records in turn, alone and in batches."""
    with closing(Kit(url)) as kit:
        plain = Plain(kit.backend)
        for count in (1, BATCH):
            of_report, of_record = [], []
            for _ in range(ROUNDS * CALLS // (1 if count == 1 else 4)):
                plain.write(count)
                plain.report(count)
                of_record.append(timed(lambda: plain.backend.write(plain.writes)) / count)
                of_report.append(timed(lambda: plain.parts.write_with_reports([], plain.reports)) / count)
            ours, theirs = min(of_report), min(of_record)
            yield (
                f"a part's report, {count} in a call: {ours * 1e6:.1f} µs, a plain record {theirs * 1e6:.1f}: "
                f"{ours / theirs:.2f} times, at most {WRITE_LIMIT}",
                ours <= WRITE_LIMIT * theirs,
            )


# What grows with the number of parts.


def fill(parts: SupportsParts, id: str, count: int, first: int = 0) -> None:
    """Have parts begin, get half done and succeed, in batches."""
    for begin in range(first, first + count, BATCH):
        tokens = {f"chunk-{n:06}": new_token() for n in range(begin, min(begin + BATCH, first + count))}
        for state, hundredths in ((State.RUNNING, 0), (State.RUNNING, 5_000), (State.SUCCEEDED, 0)):
            reports: list[Report] = [report(id, name, state, hundredths, token=token) for name, token in tokens.items()]
            parts.write_with_reports([], reports)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used."""
    seconds, parents = dict[int, float](), dict[int, int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        own = int(stat.parent.name)
        parents[own] = int(fields[1])
        seconds[own] = sum(map(int, fields[11:15])) / TICKS
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(seconds.get(each, 0.0) for each in family)


class Growth(NamedTuple):
    """What a job of so many parts costs for each: seconds of CPU, and bytes of storage."""

    cpu: float
    bytes: float | None


def grown(row: Row, url: str, count: int) -> Growth:
    with closing(Kit(url)) as kit:
        parts = cast("SupportsParts", kit.backend)
        parts.write_with_reports([declare("job", count)], [])
        pid = server(row.service).pid if row.service else None
        before = process_time() + (cpu_of(pid) if pid else 0)
        stored = size_of(row, url)
        fill(parts, "job", count)
        used = process_time() + (cpu_of(pid) if pid else 0) - before

        def is_complete() -> bool:
            progress = kit.get("job")
            return progress is not None and (progress.state, progress.current) == (State.SUCCEEDED, count)

        # A process that begins to read RabbitMQ's journal has the sum once it has read all of it.
        wait_until(is_complete, "the job has all of its parts")
        after = size_of(row, url)
        return Growth(used / count, None if stored is None or after is None else (after - stored) / count)


def size_of(row: Row, url: str) -> int | None:
    """Return the bytes that the store has in use; None where that is not measured."""
    match row.name:
        case "redis":
            from redis import Redis as Client

            with closing(Client.from_url(url)) as client:
                return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1_000))
        case "sqlite":
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
                ((pages,),), ((size,),) = (database.execute(f"PRAGMA page_{each}") for each in ("count", "size"))
                return int(pages) * int(size)
        case "postgresql":
            import psycopg

            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as postgresql:
                postgresql.execute("VACUUM FULL")  # old versions of rows are of updates, not of parts
                found = postgresql.execute(
                    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE %s",
                    ["progresskit%"],
                ).fetchone()
                return int(found[0]) if found else None
    return None


def growth(row: Row, few: str, many: str) -> Iterator[tuple[str, bool]]:
    small, large = grown(row, few, PARTS), grown(row, many, MANY)
    ratio = large.cpu / small.cpu
    yield (
        f"CPU of client and server: {small.cpu * 1e6:.1f} µs a part at {PARTS:,} parts, {large.cpu * 1e6:.1f} at "
        f"{MANY:,}: {ratio:.2f} times, at most {CPU_LIMIT}",
        ratio <= CPU_LIMIT,
    )
    name = len("chunk-000000")
    for each, count in ((small, PARTS), (large, MANY)):
        if each.bytes is not None:
            beyond = each.bytes - name
            yield (
                f"storage: {beyond:.0f} bytes a part of {count:,} beyond its name, at most {BYTES_LIMIT}",
                (beyond <= BYTES_LIMIT),
            )


# celery-progress.


def compare_with_peer(redis: Redis, url: str) -> Iterator[str]:
    """Ask celery-progress's view of a group of as many tasks, and compare the percents of a smaller one."""
    peer = Peer(redis)
    tasks = [f"many-{number}" for number in range(PARTS)]
    peer.save("many", tasks)
    look = peer.look("many")
    yield (
        f"celery-progress's view of a group of {PARTS:,}: {look.commands:,} commands of Redis and "
        f"{look.seconds * 1e3:,.0f} ms each time that a page asks"
    )
    with closing(Kit(url)) as kit:
        series = percents(peer, kit)
    truth, theirs, ours = ([values[place] for values in series] for place in range(3))
    for name, values in (("true", truth), ("celery-progress", theirs), ("progresskit", ours)):
        numbers = " ".join(f"{value:.1f}" for value in values)
        off = max(abs(value - true) for value, true in zip(values, truth, strict=True))
        yield f"  {name:16} {numbers}; fell {falls(values)} times, at most {off:.1f} off"


def measure(row: Row, folder: Path) -> list[bool]:
    """Print what a backend costs; return which promises it keeps."""
    kept = []

    def place(name: str) -> str:
        (folder / name).mkdir(parents=True)
        return row.url(folder / name)

    results: list[Callable[[], Iterator[tuple[str, bool]]]] = [
        lambda: run(place("run")),
        lambda: watch_many(row, place("roots")),
        lambda: read_costs(row, place("read")),
        lambda: write_costs(place("write")),
        lambda: growth(row, place("few"), place("many")),
    ]
    for result in results:
        for line, met in result():
            print(f"{row.name}: {line}{'' if met else '   MISSED'}", flush=True)
            kept.append(met)
    if row.name == "redis":
        for line in compare_with_peer(cast("Redis", server("redis")), place("peer")):
            print(line, flush=True)
    return kept


def main(names: Sequence[str]) -> int:
    able = [row for row in BACKENDS if PartsContract in row.parts and row.name != "memory"]
    if unknown := set(names) - {row.name for row in able}:
        raise SystemExit(f"no backend with parts: {', '.join(unknown)}; {', '.join(row.name for row in able)}")
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for row in able:
            if row.missing is not None:
                print(f"{row.name} is left out: {row.missing}")
            elif row.name in names or not names:
                kept += measure(row, Path(folder, row.name))
    print("met" if all(kept) else "MISSED")
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
