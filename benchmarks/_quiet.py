"""
The cost of a quiet job, and the latency of its updates: one process reports now and then, another one watches.

All settings have their defaults. Backends that are measured at once have no server in common.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import uniform
from threading import Timer
from time import monotonic, sleep
from typing import NamedTuple

from _meters import Meter, metered

from progresskit import Kit
from progresskit.urls import redact

UPDATES = 50
PAUSE = (0.15, 0.25)
SETTLE_SECONDS = 1.0
IDLE_SECONDS = 10.0
"""
How long an idle job is looked at, in which there is one heartbeat of one each 10 s. A viewer that came later than the
job reads it once a second until a heartbeat is pushed, and is looked at after that.
"""

PATIENCE = 60.0
VIEWER = Path(__file__).with_name("_latency_probe.py")
ID = "quiet"


class Quiet(NamedTuple):
    """Seconds from an update to the watcher, sorted, and the requests per minute of an idle job, and of its viewer."""

    ages: list[float]
    idle: float | None
    viewer: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.ages)

    @property
    def p99(self) -> float:
        return self.ages[len(self.ages) * 99 // 100]


class Site(NamedTuple):
    """A job that is begun, at a URL."""

    name: str
    url: str
    kit: Kit
    meter: Meter | None

    def updated(self) -> list[float]:
        """Make updates, and return how old each was when another process saw it."""
        with self.kit.observe(ID) as observer, watched(self.url) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it watches
            sleep(SETTLE_SECONDS)
            for _ in range(UPDATES):
                sleep(uniform(*PAUSE))
                observer.update(description=repr(monotonic()))
            observer.succeed()
            return sorted(map(float, process.stdout))

    def idle(self) -> tuple[float, float]:
        """Return the requests per minute of a job without reports, and of the job and its viewer."""
        with ExitStack() as stack:
            stack.enter_context(self.kit.observe("idle"))
            sleep(SETTLE_SECONDS)
            alone = self._in_a_minute()
            kit = stack.enter_context(closing(Kit(self.url)))
            stack.enter_context(kit.hub.view(("idle",))).get(SETTLE_SECONDS)
            sleep(IDLE_SECONDS)
            return alone, self._in_a_minute()

    def _in_a_minute(self) -> float:
        before = self.total()
        sleep(IDLE_SECONDS)
        return (self.total() - before) * 60 / IDLE_SECONDS

    def total(self) -> int:
        return self.meter.total() if self.meter else 0


@contextmanager
def watched(url: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(VIEWER), url, ID]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        patience = Timer(PATIENCE, process.kill)
        patience.start()
        try:
            yield process
            assert process.wait(PATIENCE) == 0, f"the watcher by {redact(url)} has not seen the job's end"
        finally:
            patience.cancel()
            process.kill()


def quiet(urls: dict[str, str]) -> dict[str, Quiet]:
    """Measure backends at the same time, by their names, where other processes share the records."""
    with ExitStack() as stack:
        sites = [
            Site(name, url, meter=stack.enter_context(metered(name)), kit=stack.enter_context(closing(Kit(url))))
            for name, url in urls.items()
        ]
        with ThreadPoolExecutor(len(sites)) as pool:
            ages = [*pool.map(Site.updated, sites)]
            idle = [*pool.map(Site.idle, sites)]
    return {
        site.name: Quiet(age, job, both - job) if site.meter else Quiet(age, None, None)
        for site, age, (job, both) in zip(sites, ages, idle, strict=True)
    }
