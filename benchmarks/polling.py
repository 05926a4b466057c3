"""
Requests a second for one job's record, compared with celery-progress's view of one task, on the same server.

Both read one Redis, which is private to this run. The views are in one Django, with an empty one: it shows the time of
server and framework for each request, which no view can save: there, the views' own times are compared. Where
progresskit is mounted alongside Django in the same server, the whole time counts. Pages poll without a pause, each on a
connection of its own as gunicorn's sync worker has it; the views are polled in turn, a slice of time each. Redis counts
its commands meanwhile.

Pages also poll on persistent connections, and measure their waiting times: there, polls of `progresskit serve` are
compared with an empty application on the same server.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

import _kept
from redis import Redis as Client

from progresskit import Kit
from progresskit.web import Surface
from tests.services.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS, SLICE_SECONDS = 5, 0.6
PAGES = 2
GOAL = 4.0
HERE = Path(__file__).parent
UVICORN = ["uvicorn", "--no-access-log", "--log-level", "error", "--lifespan", "off", "--port", "{port}"]
BESIDE = "uvicorn, beside Django"
GUNICORN = ["gunicorn", "-w", "2", "--log-level", "error", "-b", "127.0.0.1:{port}"]
SERVERS = {
    "gunicorn, 2 sync workers": [*GUNICORN, "_polled_site:wsgi"],
    "uvicorn": [*UVICORN, "_polled_site:asgi"],
    BESIDE: [*UVICORN, "_polled_site:beside"],
}


class View(NamedTuple):
    """A view: its address, and the expected answer."""

    name: str
    path: str
    status: int
    etag: str | None = None

    def request(self) -> bytes:
        match = f"If-None-Match: {self.etag}\r\n" if self.etag else ""
        return f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{match}\r\n".encode()


class Rate(NamedTuple):
    """Requests a second, and commands that Redis was sent for each."""

    requests: float
    commands: float


def ask(port: int, view: View, seconds: float) -> int:
    """Return how often one page was answered."""
    request, answered, end = view.request(), 0, monotonic() + seconds
    while monotonic() < end:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.split(b" ", 2)[1] == str(view.status).encode(), answer[:200]
        answered += 1
    return answered


def measure(port: int, view: View, client: Any) -> Rate:
    """Ask from several pages for a slice of time."""
    ask(port, view, 0.05)
    before, begun = client.info("stats")["total_commands_processed"], monotonic()
    with ThreadPoolExecutor(PAGES) as pool:
        answered = sum(pool.map(lambda _: ask(port, view, SLICE_SECONDS), range(PAGES)))
    seconds = monotonic() - begun
    commands = client.info("stats")["total_commands_processed"] - before - 1
    return Rate(answered / seconds, commands / answered)


@contextmanager
def served(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Run a server; give its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", *(word.format(port=port) for word in command)]
    with subprocess.Popen(words, cwd=HERE, env=environment) as process:
        try:
            deadline = monotonic() + 30
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/nothing/", timeout=5).close()
                    break
                except OSError:
                    assert monotonic() < deadline, "the server does not come up"
                    assert process.poll() is None
                    sleep(0.1)
            yield port
        finally:
            process.terminate()


def compare(name: str, port: int, key: str, client: Any) -> bool:
    """Ask all views of a server in turn, and print how they compare."""
    with urlopen(f"http://127.0.0.1:{port}/progress/{key}/") as response:
        record, etag = json.load(response), response.headers["ETag"]
    with urlopen(f"http://127.0.0.1:{port}/celery-progress/task/") as response:
        peer = json.load(response)
    assert (record["current"], peer["progress"]["current"]) == (3, 3)
    views = (
        View("nothing", "/nothing/", 200),
        View("celery-progress", "/celery-progress/task/", 200),
        View("ours", f"/progress/{key}/", 200),
        View("ours, 304", f"/progress/{key}/", 304, etag),
    )
    rates: dict[str, list[Rate]] = {view.name: [] for view in views}
    for _ in range(ROUNDS):
        for view in views:
            rates[view.name].append(measure(port, view, client))
    for label, found in rates.items():
        print(
            f"{name}: {label.ljust(15)} {statistics.median(rate.requests for rate in found):6,.0f} requests/s, "
            f"{statistics.median(rate.commands for rate in found):.3f} commands to Redis for each"
        )
    met = [_judge(name, which, rates) for which in ("ours", "ours, 304")]
    return all(met)


def _judge(name: str, which: str, rates: dict[str, list[Rate]]) -> bool:
    asked = [[rate.requests for rate in rates[view]] for view in ("nothing", "celery-progress", which)]
    rounds = [*zip(*asked, strict=True)]
    ratio = statistics.median(ours / theirs for _, theirs, ours in rounds)
    most = statistics.median(nothing / theirs for nothing, theirs, _ in rounds)
    # The time that a view adds to the fixed time of a request.
    added = statistics.median(
        (1 / theirs - 1 / nothing) / max(1 / ours - 1 / nothing, 1e-6) for nothing, theirs, ours in rounds
    )
    commands = statistics.median(rate.commands for rate in rates[which])
    judged, what = (ratio, "all") if name == BESIDE else (added, "what the view adds")
    met = judged >= GOAL and commands < 0.5
    print(
        f"{name}: {which}: {ratio:.2f} of celery-progress's requests a second, where a view that does nothing has "
        f"{most:.2f}; the view adds 1/{min(added, 99):.1f} of its time; at least {GOAL:g} in {what}: "
        f"{'met' if met else 'MISSED'}"
    )
    return met


def main() -> int:
    with ExitStack() as stack:
        redis = stack.enter_context(Redis())
        os.environ["POLLED_URL"] = redis.url
        from _polled_site import queue

        stated = {"pending": False, "current": 3, "total": 10, "percent": 30.0, "description": "Importing"}
        queue.backend.store_result("task", stated, "PROGRESS")
        kit = Kit(redis.url, secret_key="the secret of this site, long enough for it")
        stack.callback(kit.close)
        observer = stack.enter_context(kit.observe("job", total=10, description="Importing"))
        observer.advance(3)
        kit.flush()
        client = stack.enter_context(closing(Client.from_url(redis.url)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        met = [_kept.compare(redis.url)]
        for name, command in SERVERS.items():
            with served(command, environment) as port:
                met.append(compare(name, port, Surface(kit).sign("job"), client))
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
