"""
The cost of each backend compared with its client library, and the latency of updates for a watcher in another process.

The backends are those of the contract tests, on servers private to this run; name some to measure only them. A batch of
1,000 records has to cost at most twice the time of the client library for the same bytes, made beforehand. Rounds
time both one right after the other, and the fastest of each counts: other work of the machine is in the slower ones. On
databases the limits are milliseconds, of a batch of 200 records and of one write. A quiet job's update has to reach a
watcher by Redis within 15 ms in the median. Celery's result backends are compared with Celery itself, without a limit.
"""

from __future__ import annotations

import atexit
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Thread
from time import monotonic, perf_counter, time
from typing import Any, NamedTuple

from _baselines import baselines
from _meters import metered
from _quiet import Quiet, quiet

from progresskit.abc import Backend
from progresskit.config import Settings
from progresskit.errors import BackendUnavailable
from progresskit.progress import Write, encode, moment
from progresskit.registry import backend_class
from progresskit.testing.writes import record, start, update
from tests.contract import celery_apps
from tests.contract.backends import BACKENDS, Row

BATCH, SINGLES, RESULTS, READS = 1_000, 20, 200, 5
SECONDS, ROUNDS = 1.0, range(4, 22)
TRIES = 5
LIMIT, REDIS_SECONDS = 2.0, 0.015
SQL_SECONDS = {"sqlite": 0.006, "postgresql": 0.012, "mariadb": 0.020}
"""How long a batch of RESULTS records may take; one write WRITE_SECONDS."""
WRITE_SECONDS = 0.0006

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


def starts(owner: str, size: int) -> list[Write]:
    return [start(f"{owner}-{number}", **fields(1)) for number in range(size)]


def updates(owner: str, seq: int, count: int = BATCH) -> list[Write]:
    return [update(f"{owner}-{number}", seq, **fields(seq)) for number in range(count)]


def clocked(call: Callable[..., object], arguments: Sequence[object]) -> float:
    """Return the seconds for each call in the mean."""
    began = perf_counter()
    for argument in arguments:
        call(argument)
    return (perf_counter() - began) / len(arguments)


def stored(backend: Backend, batch: Sequence[Write]) -> None:
    """Write the batch, untimed; a busy machine may take longer for the first on a connection than a call lasts."""
    for _ in range(TRIES - 1):
        with suppress(BackendUnavailable):
            backend.write(batch)
            return
    backend.write(batch)


class Costs(NamedTuple):
    """Seconds for each record, baselines in the order of `_baselines`; `asked` counts a batch, a write, a read."""

    batch: float
    single: float
    read: float
    baselines: list[tuple[str, float, float]]
    asked: tuple[str, ...]


def timed(backend: Backend, peers: list[Any], sizes: Sequence[int], batch: int = BATCH, first: int = 10) -> Timings:
    """Time batches and single writes of ours and of the baselines, in turn; `first` is newer than the stored record."""
    timings: Timings = {}
    until = monotonic() + SECONDS
    for round in range(ROUNDS.stop):
        if round >= ROUNDS.start and monotonic() > until:
            break
        seq = first + round * (SINGLES + 1)
        took = {"batch": clocked(backend.write, [updates("ours", seq, batch)]) / batch}
        took["single"] = clocked(backend.write, [updates("ours", seq + n, 1) for n in range(1, SINGLES + 1)])
        for number, (peer, size) in enumerate(zip(peers, sizes, strict=True)):
            prepared = [peer.prepare(updates(f"baseline{number}", seq, size))]
            took[f"batch {number}"] = clocked(peer.write, prepared) / size
            prepared = [peer.prepare(updates(f"baseline{number}", seq + n, 1)) for n in range(1, SINGLES + 1)]
            took[f"single {number}"] = clocked(peer.write, prepared)
        for name, value in took.items() if round else ():  # the first does not count: statements are prepared
            timings.setdefault(name, []).append(value)
    return timings


def timed_read(backend: Backend, size: int) -> float:
    """Time reads of a batch that has just been written, so that no cache has its records."""
    ids, took = [f"ours-{number}" for number in range(size)], []
    for seq in range(4_000, 4_000 + READS):
        backend.write(updates("ours", seq, size))
        took.append(clocked(backend.read, [ids]) / size)
    return min(took)


def asked(name: str, backend: Backend, size: int) -> Iterator[str]:
    """Count the requests of a batch, of a single write and of a read of a batch to the server."""
    backend.close()
    with metered(name) as meter:
        stored(backend, updates("ours", 5_000, size))
        backend.read(["ours-1"])
        ids = [f"ours-{number}" for number in range(size)]
        calls: list[Callable[[], object]] = [
            lambda: backend.write(updates("ours", 5_001, size)),
            lambda: backend.write(updates("ours", 5_002, 1)),
            lambda: backend.read(ids),
        ]
        for call in calls:
            before = meter.total() if meter else 0
            call()
            yield str(meter.total() - before) if meter else "n/a"


def measured(row: Row, url: str) -> Costs:
    kinds, size = baselines(row.name), RESULTS if row.name.startswith("celery") or row.name in SQL_SECONDS else BATCH
    with ExitStack() as stack:
        backend = stack.enter_context(closing(backend_class(url).from_url(url, Settings())))
        for owner in ("ours", *(f"baseline{number}" for number in range(len(kinds)))):
            stored(backend, starts(owner, size))
        peers = [stack.enter_context(closing(kind(url))) for kind in kinds]
        timings = timed(backend, peers, [SINGLES if size == RESULTS else size] * len(peers), size)
        if row.name == "sqlite":
            beside_a_computing_thread(lambda: timed(backend, [], [], RESULTS, 2_000))
        fastest = {name: min(values) for name, values in timings.items()}
        compared = [(kind.name, fastest[f"batch {n}"], fastest[f"single {n}"]) for n, kind in enumerate(kinds)]
        return Costs(
            fastest["batch"], fastest["single"], timed_read(backend, size), compared, (*asked(row.name, backend, size),)
        )


def beside_a_computing_thread(call: Callable[[], Timings]) -> None:
    """Print the timings while another thread computes and competes for the interpreter's lock."""
    results: list[Timings] = []
    thread = Thread(target=lambda: results.append(call()))
    thread.start()
    number = 0
    while thread.is_alive():
        for _ in range(10_000):
            number += 1
    took = min(results[0]["batch"]) * RESULTS
    print(f"SQLite {sqlite3.sqlite_version}, a batch of {RESULTS} beside a thread that computes: {took * 1e3:.0f} ms")


def rounds(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Divide the backends that other processes see, so that no two of a round have a server in common."""
    left = [row for row in rows if row.name not in {"memory", "kombu-memory"}]
    while left:
        chosen: dict[str, Row] = {}
        for row in left:
            chosen.setdefault(row.name if row.name == "redis-cluster" else row.service or row.name, row)
        yield [*chosen.values()]
        left = [row for row in left if row not in chosen.values()]


HEAD = (
    f"{'':21}{'in batches of 1,000':>32}   {'one at a time':>24}   {'read':>6}   {'set → watcher':>15}   "
    f"{'asked of the server':>40}\n"
    f"{'':21}{'records/s':>11}{'µs':>7}{'base':>7}{'ratio':>7}   {'records/s':>10}{'base':>8}{'ratio':>6}   "
    f"{'µs':>6}   {'median':>8}{'99 %':>7}   {'batch':>7}{'write':>7}{'read':>7}{'job/min':>9}{'viewer/min':>11}"
)


def print_costs(row: Row, costs: Costs, seen: Quiet | None) -> bool:
    """Print the line of a backend; return whether it keeps the promise."""
    batch, single = f"{'–':>7}{'–':>7}", f"{'–':>8}{'–':>6}"
    kept = True
    if costs.baselines:
        _, of_batch, of_single = costs.baselines[0]
        kept = row.name.startswith("celery") or costs.batch <= LIMIT * of_batch
        batch = f"{of_batch * 1e6:7.1f}{costs.batch / of_batch:7.2f}"
        single = f"{1 / of_single:8,.0f}{costs.single / of_single:6.2f}"
    if row.name in SQL_SECONDS:
        kept = costs.batch * RESULTS <= SQL_SECONDS[row.name] and costs.single <= WRITE_SECONDS
    watcher = "only one process" if seen is None else f"{seen.median * 1e3:8.1f}{seen.p99 * 1e3:7.1f}"
    if row.name == "redis" and seen is not None:
        kept &= seen.median <= REDIS_SECONDS
    minutes = ["n/a" if value is None else f"{value:.0f}" for value in (seen.idle, seen.viewer)] if seen else ["–", "–"]
    print(
        f"{row.name:21}{1 / costs.batch:11,.0f}{costs.batch * 1e6:7.1f}{batch}   {1 / costs.single:10,.0f}{single}   "
        f"{costs.read * 1e6:6.1f}   {watcher:>15}   {''.join(f'{count:>7}' for count in costs.asked)}"
        f"{minutes[0]:>9}{minutes[1]:>11}   {'' if kept else 'MISSED'}".rstrip()
    )
    return kept


def explain(costs: dict[str, Costs]) -> None:
    """Explain the baselines, and the work that they leave out."""
    for row, cost in costs.items():
        for name, of_batch, of_single in cost.baselines:
            print(f"  {row:20} {of_batch * 1e6:7.1f} µs in a batch, {of_single * 1e6:7.1f} alone: {name}")
    progress = record("job", **fields(1))
    encoding = min(clocked(encode, [progress] * BATCH) for _ in range(9))
    print(
        f"Encoding takes {encoding * 1e6:.1f} µs a record ({len(encode(progress))} bytes), which is no part of these."
    )
    print(f"The batches of databases and Celery's result backends are of {RESULTS}, and Celery's own of {SINGLES}.")
    limits = ", ".join(f"{name} {seconds * 1e3:g} ms" for name, seconds in SQL_SECONDS.items())
    print(f"A batch on databases at most: {limits}; one write {WRITE_SECONDS * 1e3:g} ms.")
    print("Else at most 2 times the first baseline in a batch, but for Celery's; 15 ms in the median by Redis.")


def end_proxy() -> None:
    """End the proxy before memcached: its thread is joined before functions registered with `atexit` run."""
    proxy = celery_apps._memcached_proxy()
    atexit.unregister(proxy.__exit__)
    proxy.__exit__(None, None, None)


def main(names: Sequence[str]) -> int:
    if unknown := set(names) - {row.name for row in BACKENDS}:
        raise SystemExit(f"no such backend: {', '.join(unknown)}; there are {', '.join(row.name for row in BACKENDS)}")
    wanted = [row for row in BACKENDS if row.name in names or not names]
    rows = [row for row in wanted if row.missing is None]
    for row in wanted:
        if row.missing:
            print(f"{row.name} is left out: {row.missing}")
    with tempfile.TemporaryDirectory() as folder:
        places = {row.name: Path(folder, row.name) for row in rows}
        costs, seen = dict[str, Costs](), dict[str, Quiet]()
        for row in rows:
            places[row.name].mkdir()
            costs[row.name] = measured(row, row.url(places[row.name]))
        for number, chosen in enumerate(rounds(rows)):
            urls = {}
            for row in chosen:
                place = places[row.name] / f"quiet-{number}"
                place.mkdir()
                urls[row.name] = row.url(place)
            seen |= quiet(urls)
    if "celery-memcached" in costs:
        end_proxy()
    print(HEAD)
    kept = [print_costs(row, costs[row.name], seen.get(row.name)) for row in rows]
    explain(costs)
    print("met" if all(kept) else "MISSED")
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
