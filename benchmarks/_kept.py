"""Polls on persistent connections, as browsers and nginx have them, compared with an empty application."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection
from time import perf_counter
from typing import NamedTuple

ROUNDS, SLICE_SECONDS = 9, 0.3
ANSWERS = 200
"""The least number of answers, on a busy machine."""

CLIENTS = (1, 4, 40)
GOAL = 2.5
"""The most, in times of the server for an answer of the same length from an empty application."""


class Times(NamedTuple):
    """Seconds that each request took of the server's time, and those from asking to the end of the answer."""

    request: float
    median: float
    worst: float
    """That of the slowest of a hundred."""


def ask(port: int, request: bytes, clients: int) -> Times:
    """Let the given number of clients poll for a slice of time, each as soon as it was answered."""
    latencies: list[float] = []
    with DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(clients):
            connection = stack.enter_context(create_connection(("127.0.0.1", port), timeout=10))
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            selector.register(connection, EVENT_READ, [b"", perf_counter()])
            connection.sendall(request)
        begun = now = perf_counter()
        while now - begun < SLICE_SECONDS or len(latencies) < ANSWERS:
            for key, _ in selector.select(10):
                connection = key.fileobj  # type: ignore[assignment]
                answer = key.data[0] = key.data[0] + connection.recv(65_536)
                if is_complete(answer):
                    now = perf_counter()
                    latencies.append(now - key.data[1])
                    key.data[:] = b"", now
                    connection.sendall(request)
        seconds = now - begun
    return Times(seconds / len(latencies), statistics.median(latencies), statistics.quantiles(latencies, n=100)[-1])


def is_complete(answer: bytes) -> bool:
    """Return whether an answer is complete, by its `Content-Length`."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    status = head.split(b" ", 2)[1]
    assert status in (b"200", b"304"), head
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) == int(length or 0)


@contextmanager
def served(url: str) -> Iterator[dict[str, str]]:
    """Run the site; yield its description."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__).with_name("_kept_site.py")), url]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def compare(url: str) -> bool:
    """Poll the empty application and the job of that backend in turn; print the ratio, return whether it is met."""
    with served(url) as site:
        head = f"GET {site['path']} HTTP/1.1\r\nHost: localhost\r\n"
        requests = {
            "nothing": b"GET /bare HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "ours": f"{head}\r\n".encode(),
            "ours, 304": f"{head}If-None-Match: {site['etag']}\r\n\r\n".encode(),
        }
        met = [_compare(int(site["port"]), requests, clients) for clients in CLIENTS]
        return all(met)


def _compare(port: int, requests: dict[str, bytes], clients: int) -> bool:
    for request in requests.values():
        ask(port, request, clients)
    rounds = [{name: ask(port, request, clients) for name, request in requests.items()} for _ in range(ROUNDS)]
    met = True
    for name in requests:
        ratio = statistics.median(found[name].request / found["nothing"].request for found in rounds)
        median, worst = (statistics.median(found[name][field] for found in rounds) * 1_000 for field in (1, 2))
        print(
            f"kept connections, {clients:2} clients: {name.ljust(9)} {ratio:.2f} of the time of nothing for a request; "
            f"answered after {median:.2f} ms in the median, {worst:.2f} ms for 99 of 100"
            + (f"; at most {GOAL:g}: {'met' if ratio <= GOAL else 'MISSED'}" if name != "nothing" else "")
        )
        met = met and ratio <= GOAL
    return met
