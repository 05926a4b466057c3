"""celery-progress's view of a group: the commands of Redis that each look costs, and the percents that it shows."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import pairwise
from time import perf_counter
from typing import NamedTuple

import django
from celery import Celery, states
from celery.result import AsyncResult, GroupResult
from django.conf import settings
from django.http import HttpRequest

from progresskit import Kit, State
from progresskit.abc import SupportsParts
from progresskit.testing.parts import report
from tests.services.redis import Redis

ROWS = 1_000
"""What each task of the group counts."""

TASKS, AT_ONCE, STAGES = 100, 10, 4
"""How many tasks the group has whose percents are shown, how many run at once, and how often each reports."""


class Look(NamedTuple):
    """What a look at a group costs: seconds, and commands of Redis."""

    seconds: float
    commands: int


class Peer:
    """A Celery application with its results in Redis, and the view."""

    def __init__(self, redis: Redis) -> None:
        settings.configure(SECRET_KEY="none")
        django.setup()
        from celery_progress.views import get_group_progress  # type: ignore[import-untyped]

        self._view, self._redis = get_group_progress, redis
        self._app = Celery("peer", backend=redis.url, broker="memory://")
        self._app.set_default()

    def save(self, id: str, tasks: list[str]) -> None:
        """Save a group of tasks, as its sender does."""
        GroupResult(id, [AsyncResult(task) for task in tasks]).save()

    def report(self, task: str, rows: int) -> None:
        """Store what a task's `ProgressRecorder` stores, or its success."""
        progress = {"pending": False, "current": rows, "total": ROWS, "percent": rows * 100 / ROWS, "description": ""}
        done = rows == ROWS
        self._app.backend.store_result(task, None if done else progress, states.SUCCESS if done else "PROGRESS")

    def percent(self, id: str) -> float:
        """Return the percent that the view answers with."""
        return float(json.loads(self._view(HttpRequest(), id).content)["progress"]["percent"])

    def look(self, id: str) -> Look:
        """Look once."""
        with closing(self._redis.client()) as client:
            before = client.info("stats")["total_commands_processed"]
            began = perf_counter()
            self.percent(id)
            seconds = perf_counter() - began
            return Look(seconds, client.info("stats")["total_commands_processed"] - before - 1)


def percents(peer: Peer, kit: Kit) -> list[tuple[float, float, float]]:
    """Return the true percent of a group, that of the view and ours, each time that all running tasks have reported."""
    tasks = [f"task-{number}" for number in range(TASKS)]
    peer.save("series", tasks)
    kit.group("series", size=TASKS)
    assert isinstance(kit.backend, SupportsParts)
    series = []
    for first in range(0, TASKS, AT_ONCE):
        running = tasks[first : first + AT_ONCE]
        for stage in range(1, STAGES + 1):
            rows = ROWS * stage // STAGES
            state = State.SUCCEEDED if rows == ROWS else State.RUNNING
            for task in running:
                peer.report(task, rows)
            kit.backend.write_with_reports([], [report("series", task, state, rows * 10) for task in running])
            ours = kit.get("series")
            assert ours is not None
            assert ours.percent is not None
            series.append(((first + AT_ONCE * stage / STAGES) / TASKS * 100, peer.percent("series"), ours.percent))
    return series


def falls(values: list[float]) -> int:
    """Return how often a value is lower than the one before."""
    return sum(later < earlier for earlier, later in pairwise(values))
