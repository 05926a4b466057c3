"""
Ten thousand `set_progress` in a task, compared with celery-progress in the same prefork worker; and the loss of Redis.

Both keep their progress in one Redis, which is private to this run: celery-progress in the result backend, ours by
`redis://` and by `celery://`, one worker after the other. The loop is the same, in four stretches with a quarter of a
second of other work between them, so that updates are visible; the stretches are timed, and a watcher in another
process sees the values rise. Then Redis is killed in the middle of a task of either kind, and started again. The
broker is a folder, so that it does not go with Redis.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from _watcher import Watcher
from celery import Celery, states

from progresskit import Kit, State
from progresskit.errors import BackendUnavailable
from tests.adapters.celery.worker import configuration, start_worker
from tests.services.redis import Redis
from tests.services.steady_broker import steady_transport

if TYPE_CHECKING:
    from collections.abc import Callable

APP = "benchmarks._celery_peer_app"
CALLS, ROWS = 10_000, 600
ROUNDS = 3
LIMIT = 1 / 300
GONE_SECONDS = 1.0
PATIENCE = 40.0


class Site:
    """A worker, a client that sends to it, and a kit that watches it."""

    def __init__(self, stack: ExitStack, folder: Path, redis: Redis, url: str) -> None:
        settings = {**configuration(folder), "result_backend": redis.url}
        self.ends = folder / "ends"
        self.ends.mkdir()
        environment = {
            "PROJ_CONFIGURATION": json.dumps(settings),
            "PROGRESSKIT_URL": url,
            "PEER_ENDS": str(self.ends),
        }
        os.environ.update(environment)  # which the watchers inherit
        self.redis, self.url = redis, url
        self.name = f"{url.partition(':')[0]}://".ljust(9)
        self.worker = stack.enter_context(start_worker(folder, app=APP, env=environment))
        self.app = Celery("client", set_as_current=False)
        self.app.conf.update(settings, broker_transport=steady_transport())
        self.kit = Kit(redis.url)  # where `celery://` has its records too
        stack.callback(self.kit.close)

    def send(self, task: str, id: str | None = None) -> Any:
        return self.app.send_task(task, task_id=id or uuid4().hex)

    def until(self, what: str, condition: Callable[[], Any]) -> None:
        """Wait, also while Redis is away."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except (BackendUnavailable, *self.app.backend.connection_errors):
                pass
            time.sleep(0.01)
        raise AssertionError(f"{what}: not within {PATIENCE} s\n{self.worker.logged()[-3000:]}")


def compare(site: Site) -> bool:
    """Time the loop of either kind."""
    ratios, ours, theirs, seen = list[float](), list[float](), list[float](), ""
    for _ in range(ROUNDS):
        theirs.append(site.send("peer.calls").get(timeout=PATIENCE))
        id = uuid4().hex
        with Watcher(site.url, id) as watcher:
            ours.append(site.send("ours.calls", id).get(timeout=PATIENCE))
        seen = watcher.check(CALLS)
        assert len({record["current"] for record in watcher.records}) >= 3, "fewer than two values and the last"
        ratios.append(ours[-1] / theirs[-1])
    ratio = statistics.median(ratios)
    print(
        f"{site.name} {CALLS:,} set_progress: celery-progress {statistics.median(theirs):.2f} s, ours "
        f"{statistics.median(ours) * 1e3:.2f} ms; 1/{1 / ratio:,.0f} in the median of {ROUNDS} rounds, at most "
        f"1/{1 / LIMIT:.0f}; seen: {seen}"
    )
    return ratio <= LIMIT


def survive(site: Site) -> bool:
    """Kill Redis in the middle of a task of either kind, and start it again while the task would still run."""
    theirs, end = cut_off(
        site, "peer.works", lambda result: result.info["current"] if result.state == "PROGRESS" else 0
    )
    print(f"{site.name} Redis killed in the middle: celery-progress's task {end}, for Celery it is {theirs.state}")
    died = end.startswith("died")
    ours, end = cut_off(site, "ours.works", lambda result: getattr(site.kit.get(result.id), "current", 0))
    site.until("the result", lambda: ours.state in states.READY_STATES)
    site.until("the last record", lambda: getattr(site.kit.get(ours.id), "done", False))
    progress = site.kit.get(ours.id)
    assert progress is not None
    print(
        f"{site.name} Redis killed in the middle: our task {end}, for Celery it is {ours.state}; "
        f"its job has {progress.state}, {progress.current} of {progress.total}"
    )
    return died and (ours.state, progress.state, progress.current) == (states.SUCCESS, State.SUCCEEDED, ROWS)


def cut_off(site: Site, task: str, current: Callable[[Any], int]) -> tuple[Any, str]:
    """Return the result of a task during which Redis was gone for a while, and the outcome of its function."""
    result = site.send(task)
    site.until("the middle", lambda: current(result) > ROWS // 6)
    site.redis.kill()
    time.sleep(GONE_SECONDS)
    site.redis.start()
    end = site.ends / result.id
    site.until("the end", end.exists)
    site.until("it is written", end.read_text)
    return result, end.read_text()


def main() -> int:
    met = []
    for kind in ("redis", "celery"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            redis = stack.enter_context(Redis())
            site = Site(stack, folder, redis, redis.url if kind == "redis" else f"celery://{APP}:app")
            met += [compare(site), survive(site)]
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
