"""
One event stream of ten events a second to very many viewers over Server-Sent Events, on one server process.

Jobs, server and viewers are processes of their own, with a private Redis between jobs and server. In reality jobs and
viewers are on other machines, so their two processes take as little of this one as they can. Beside it, in the same
run, sse-starlette on the same server (uvicorn with httptools): events delivered for a second of the server's CPU.
Every viewer has to get 95 of 100 events; those not delivered were merged into newer ones by design, and the last one
has to reach everybody. Also: a thousand jobs with one viewer each, beside a bare ASGI sender of ready-made bytes to as
many connections, which is the floor for the server's CPU, while as many jobs report; and ten thousand viewers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.services.redis import Redis

SECONDS = 8.0
FIRST = 10
"""How many viewers are there before it is measured what each more takes."""

PROCESS = Path(__file__).with_name("_fanout_process.py")
AT_LEAST_DELIVERED, AT_LEAST_RATIO, MOST_KILOBYTES, MOST_SECONDS = 0.95, 3.0, 12.0, 0.2
MOST_OVER_BARE = 3.5
NUMBER = re.compile(rb'"current": ?(\d+)')


class Viewers:
    """
    All viewers, in one thread, which takes as little time from the server as it can.

    Counts the events of each viewer, by its descriptor, and how old each is that it looks at.
    """

    looks_at_each = 10

    def __init__(self, port: int) -> None:
        self.events: dict[int, int] = {}
        self.ages: list[float] = []
        self._port, self._epoll = port, select.epoll()
        self._connections: list[socket.socket] = []
        self._newest: dict[int, bytes] = {}

    def connect(self, paths: Iterable[str]) -> None:
        """Open a stream of each path, and wait for its first event."""
        for path in paths:
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
            self._connections.append(connection)
            self.events[connection.fileno()] = 0
            self._epoll.register(connection.fileno(), select.EPOLLIN)
        deadline = monotonic() + 60
        while not all(self.events.values()):
            assert monotonic() < deadline, "some viewers get no event"
            self.read(0.1)

    def read(self, seconds: float) -> None:
        """Read what comes for so long."""
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            for descriptor, _ in self._epoll.poll(left):
                self._take(descriptor, os.read(descriptor, 65_536))

    def _take(self, descriptor: int, data: bytes) -> None:
        assert data, "the server has closed a stream"
        found = data.count(b"event: progress")
        if found:
            self.events[descriptor] = events = self.events[descriptor] + found
            self._newest[descriptor] = data
            if events % self.looks_at_each == 0:
                _, mark, rest = data.partition(b'"description":')
                if mark and rest.startswith(b'"'):
                    self.ages.append(time() - float(rest.split(b'"', 2)[1]))

    def newest(self) -> list[int]:
        """Return the number of the newest event of each viewer."""
        return [int(NUMBER.findall(data)[-1]) for data in self._newest.values()]

    def close(self) -> None:
        """Close all streams."""
        for connection in self._connections:
            connection.close()
        self._epoll.close()


class Outcome(NamedTuple):
    viewers: int
    reported: int
    least: int
    mean: float
    per_cpu_second: float
    median: float
    p99: float
    kilobytes: float
    without_last: int

    def __str__(self) -> str:
        return (
            f"{self.viewers:6} viewers, {self.reported} events: {self.mean:.1f} delivered to each in the mean, "
            f"{self.least} at least, the others merged, the last missed by {self.without_last}; "
            f"{self.per_cpu_second:,.0f} a CPU second; after {self.median * 1e3:.0f} / {self.p99 * 1e3:.0f} ms "
            f"(median / 99 %); {self.kilobytes:.1f} KB a connection"
        )

    @property
    def delivered(self) -> float:
        """The share that the worst-served viewer got."""
        return self.least / self.reported


class Process:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def state(self, word: str = "") -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        state: dict[str, Any] = json.loads(self.line())
        return state


@contextmanager
def running(name: str, url: str, jobs: int) -> Iterator[Process]:
    command = [sys.executable, str(PROCESS), name, url, str(jobs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def measured(server: Process, source: Process, viewers: int, jobs: int) -> Outcome:
    paths = [f"/progress/job-{number % jobs}/events/" for number in range(viewers)]
    with closing(Viewers(int(server.line()))) as connected:
        connected.connect(paths[:FIRST])  # with them comes what a server has once
        resident = server.state()["resident"]
        connected.connect(paths[FIRST:])
        connected.read(1)
        connected.ages.clear()
        used, reported, seen = server.state(), source.state()["reported"], [*connected.events.values()]
        connected.read(SECONDS)
        after, then, now = server.state(), source.state("stop")["reported"], [*connected.events.values()]
        connected.read(2)
        newest = connected.newest()
    missed = sum(number != max(newest) for number in newest)
    events = [later - earlier for earlier, later in zip(seen, now, strict=True)]
    ages = sorted(connected.ages) or [0.0]  # the bare sender's events have no age
    return Outcome(
        viewers=viewers,
        reported=then - reported,
        least=min(events),
        mean=statistics.mean(events),
        per_cpu_second=sum(events) / (after["cpu"] - used["cpu"]),
        median=ages[len(ages) // 2],
        p99=ages[len(ages) * 99 // 100],
        kilobytes=(after["resident"] - resident) / (viewers - FIRST) / 1_024,
        without_last=missed,
    )


def run(name: str, url: str, viewers: int, jobs: int = 1) -> Outcome:
    with running(name, url, 0) as server, running("jobs", url, jobs) as source:
        outcome = measured(server, source, viewers, jobs)
    print(f"{name:13} {jobs:5} jobs {outcome}", flush=True)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, nargs="*", default=[1_000, 5_000])
    parser.add_argument("--jobs", type=int, default=1_000, help="with one viewer each; 0 for none")
    parser.add_argument("--most", type=int, default=10_000, help="viewers on one process; 0 for none")
    asked = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wrong = []
    with Redis() as redis:
        for viewers in asked.viewers:
            ours, theirs = run("progresskit", redis.fresh(), viewers), run("sse-starlette", redis.fresh(), viewers)
            ratio = ours.per_cpu_second / theirs.per_cpu_second
            print(f"  ratio of events a CPU second: {ratio:.1f} (at least {AT_LEAST_RATIO})")
            wrong += [ratio < AT_LEAST_RATIO, ours.delivered < AT_LEAST_DELIVERED, ours.kilobytes > MOST_KILOBYTES]
            wrong += [ours.p99 > MOST_SECONDS, ours.without_last > 0]
        if asked.jobs:
            ours = run("progresskit", redis.fresh(), asked.jobs, asked.jobs)
            ratio = run("bare", redis.fresh(), asked.jobs, asked.jobs).per_cpu_second / ours.per_cpu_second
            print(f"  CPU of an event by that of a bare sender: {ratio:.2f} (at most {MOST_OVER_BARE})")
            wrong += [ratio > MOST_OVER_BARE, ours.delivered < AT_LEAST_DELIVERED, ours.without_last > 0]
        if asked.most:
            wrong.append(run("progresskit", redis.fresh(), asked.most).without_last > 0)
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
