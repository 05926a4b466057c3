"""
The cost of short tasks on each queue: tasks and sends a second, without and with the integration.

The sites of a queue are started once, each with a worker, a sender and a Redis of its own. Then they take turns, for a
fraction of a second each: the sender sends tasks to a queue that no worker reads; then tasks that a worker does not
get at before all are sent, and the time is taken in which it does them: tasks that do nothing, and tasks of 10 ms. On a
third site, which has no integration either, each task that does nothing stores a record by a bare script of redis-py:
that is the least that a task costs whose end waits for its write. Last, a task reports ten thousand rows of work, in
blocks that take turns with blocks of which it reports none: what those take more, and the other threads of its process,
is the cost of reports. The same of a task without any report shows how far the figure can be trusted. Name some queues
to measure only those.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tests.services.postgresql import PostgreSQL
from tests.services.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
ROUNDS, REPORT_ROUNDS = 15, 10
TASKS, SENDS, ROWS = 200, 200, 10_000
AT_ONCE = 2
"""How many tasks each worker does at a time."""

GATES = {"task": 0.70, "brief": 0.95, "send": 0.85}
"""The least that is left, of without the integration, of the tasks a second, of those of 10 ms, and of the sends."""

MOST_OF_REPORTS = 0.01
PATIENCE = 120
END_SECONDS = 5
"""How long a process is waited for that was asked to end: an idle worker of Taskiq does not."""


class Case(NamedTuple):
    """
    A queue, the module that has its site, and the URL of the kit with the address of the site's Redis in it.

    A worker does `at_once` tasks at a time, and `tasks` are done in one turn. A broker is a database of that Redis,
    unless it is a PostgreSQL. `environment` is more for the sender and the worker.
    """

    queue: str
    module: str
    url: str = "{redis}"
    at_once: int = AT_ONCE
    tasks: int = TASKS
    broker: str = "redis"
    environment: Mapping[str, str] = MappingProxyType({})


CASES = (
    Case("Celery, redis://", "_queue_celery"),
    Case("Celery, celery://", "_queue_celery", "celery://_queue_celery:app"),
    Case("RQ, fork", "_queue_rq", at_once=1, tasks=TASKS // 10),
    Case("RQ, in-process", "_queue_rq", at_once=1, environment={"BENCH_WORKER": "SimpleWorker"}),
    Case("Dramatiq", "_queue_dramatiq"),
    Case("Huey", "_queue_huey"),
    Case("arq", "_queue_arq"),
    Case("Taskiq", "_queue_taskiq"),
    Case("Procrastinate", "_queue_procrastinate", broker="postgresql"),
)


class Kind(Enum):
    """What the tasks of a site do beside nothing."""

    BARE = "without"
    STORING = "a bare write"
    INTEGRATED = "with"


class Speed(NamedTuple):
    """Tasks that do nothing, tasks of 10 ms and sends a second, and the milliseconds of CPU of each in its process."""

    tasks: float
    briefs: float
    sends: float
    task_cpu: float
    brief_cpu: float
    send_cpu: float


class Site:
    """A worker and a sender with a Redis of their own."""

    def __init__(self, stack: ExitStack, case: Case, kind: Kind) -> None:
        redis = stack.enter_context(Redis())
        self._marks = stack.enter_context(closing(redis.client(db=3, decode_responses=True, socket_timeout=None)))
        self._number, self._case = 0, case
        environment = {
            **os.environ,
            **case.environment,
            "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent))),
            "BENCH_BROKER": redis.url_of(1) if case.broker == "redis" else _database(stack),
            "BENCH_MARKS": redis.url_of(3),
        }
        environment.pop("PROGRESSKIT_URL", None)
        if kind is Kind.INTEGRATED:
            environment["PROGRESSKIT_URL"] = case.url.format(redis=redis.url_of(2))
        elif kind is Kind.STORING:
            environment["BENCH_RECORDS"] = redis.url_of(2)
        self._sender = subprocess.Popen(
            [sys.executable, "_queue_tasks.py", case.module],
            cwd=HERE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, self._sender)
        assert self._sender.stdout is not None
        arguments = self._sender.stdout.readline().rstrip("\n").split("\t")
        quiet = subprocess.DEVNULL
        stack.callback(_end, subprocess.Popen(arguments, cwd=HERE, env=environment, stdout=quiet, stderr=quiet))

    def measure(self) -> Speed:
        """Send tasks, and have tasks done."""
        wall, send_cpu = self._ask("park", "noop", SENDS)
        tasks, task_cpu = self._do("noop", self._case.tasks)
        briefs, brief_cpu = self._do("brief", self._case.tasks // 4)
        return Speed(tasks, briefs, SENDS / wall, task_cpu, brief_cpu, send_cpu / SENDS * 1e3)

    def _do(self, task: str, count: int) -> tuple[float, float]:
        """Have so many tasks done; return how many a second, and the milliseconds of CPU of each."""
        first, last = self._close_gate(), 0
        begun = self._wait("in", first)
        self._ask("send", task, count)
        last = self._close_gate()
        began = time.time()
        self._open_gate(first)
        before, after = self._wait("out", first), self._wait("in", last)
        self._open_gate(last)
        self._wait("out", last)
        ended = max(moment for _, moment, _ in after)
        used = dict[int, float]()
        for sign, moments in ((-1, before), (1, after)):
            for process, cpu in {process: cpu for process, _, cpu in moments}.items():
                used[process] = used.get(process, 0) + sign * cpu
        assert len(begun) == self._case.at_once
        # Where each task has a process of its own, that of a gate does not know what the others have used.
        cpu = sum(used.values()) / count * 1e3 if len(used) == len({process for process, *_ in after}) else math.nan
        return count / (ended - began), cpu

    def report(self, *, reports: bool) -> tuple[float, float]:
        """Return what reports cost in a task's thread, and in the other threads: shares of the CPU of its work."""
        self._number += 1
        self._ask("send", "rows", 1, self._number, ROWS, int(reports))
        own, others = map(float, self._pop(f"cpu-{self._number}").split())
        return own, others

    def _ask(self, command: str, task: str, count: int, *arguments: int) -> tuple[float, float]:
        """Have the sender send tasks; return the seconds that took, wall-clock and CPU."""
        assert self._sender.stdin is not None
        assert self._sender.stdout is not None
        print(command, task, count, *arguments, file=self._sender.stdin, flush=True)
        seconds, cpu = map(float, self._sender.stdout.readline().split())
        return seconds, cpu

    def _close_gate(self) -> int:
        self._number += 1
        self._ask("send", "gate", self._case.at_once, self._number)
        return self._number

    def _open_gate(self, number: int) -> None:
        self._marks.rpush(f"open-{number}", *range(self._case.at_once))

    def _wait(self, what: str, number: int) -> list[tuple[int, float, float]]:
        """Return for each gate the process, the time and the CPU that the process had used."""
        texts = [self._pop(f"{what}-{number}").split() for _ in range(self._case.at_once)]
        return [(int(process), float(moment), float(cpu)) for process, moment, cpu in texts]

    def _pop(self, key: str) -> str:
        found = self._marks.blpop([key], timeout=PATIENCE)
        assert found, "no worker did the task"
        return str(found[1])


def _database(stack: ExitStack) -> str:
    """Start a PostgreSQL and return the address of its database, as psycopg reads it."""
    started = stack.enter_context(PostgreSQL())
    return started.url.replace("+psycopg", "")


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def compare(case: Case) -> bool:
    """Measure the sites of a queue in turns."""
    with ExitStack() as stack:
        sites = {kind: Site(stack, case, kind) for kind in Kind}
        for site in sites.values():
            site.measure()  # imports, connections and scripts are there from now on
        rounds = [_turns(sites, first=number % len(sites)) for number in range(ROUNDS)]
        ours = sites[Kind.INTEGRATED]
        turns = [(ours.report(reports=False), ours.report(reports=True)) for _ in range(REPORT_ROUNDS)]
    met = [_compare_speeds(case, rounds, name) for name in GATES]
    (untrue, idle), (own, others) = (
        map(statistics.median, zip(*turn, strict=True)) for turn in zip(*turns, strict=True)
    )
    more = own + others - idle
    print(
        f"{case.queue}: {ROWS:,} reports add {more:.2%} to the CPU of a task ({own:.2%} in its thread), at most "
        f"{MOST_OF_REPORTS:.0%}: {'met' if more <= MOST_OF_REPORTS else 'MISSED'}; none add {untrue:+.2%}",
        flush=True,
    )
    return all(met) and more <= MOST_OF_REPORTS


def _turns(sites: Mapping[Kind, Site], *, first: int) -> dict[Kind, Speed]:
    """Measure each site once; another one is the first in each round."""
    kinds = [*sites]
    return {kind: sites[kind].measure() for kind in kinds[first:] + kinds[:first]}


def _compare_speeds(case: Case, rounds: list[dict[Kind, Speed]], name: str) -> bool:
    def values(kind: Kind, value: str) -> list[float]:
        return [getattr(speeds[kind], value) for speeds in rounds]

    def median(kind: Kind, value: str) -> float:
        return statistics.median(values(kind, value))

    def ratio(kind: Kind) -> float:
        pairs = zip(values(kind, f"{name}s"), values(Kind.BARE, f"{name}s"), strict=True)
        return statistics.median(measured / bare for measured, bare in pairs)

    ours = ratio(Kind.INTEGRATED)
    costs = [median(kind, f"{name}_cpu") for kind in (Kind.BARE, Kind.INTEGRATED)]
    cpu = "" if any(map(math.isnan, costs)) else f"; CPU of one {costs[0]:.2f} and {costs[1]:.2f} ms"
    storing = f" ({ratio(Kind.STORING):.2f} with a bare write in its place)" if name == "task" else ""
    print(
        f"{case.queue}: {median(Kind.BARE, name + 's'):,.0f} {name}s a second without, "
        f"{median(Kind.INTEGRATED, name + 's'):,.0f} with; {ours:.2f} in the median of {ROUNDS} rounds{storing}, at "
        f"least {GATES[name]:.2f}: {'met' if ours >= GATES[name] else 'MISSED'}{cpu}",
        flush=True,
    )
    return ours >= GATES[name]


def main() -> int:
    chosen = [case for case in CASES if not sys.argv[1:] or any(name in case.queue for name in sys.argv[1:])]
    met = [compare(case) for case in chosen]
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
