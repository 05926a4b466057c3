"""Waiting until the demo can be used: until both of its parts have shown that they work."""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

import progresskit

if TYPE_CHECKING:
    from .queues.base import Queue

Events = SimpleQueue[str | None]
"""
Events that end the demo: None for a request to stop, a text where a part of it has died.

A SimpleQueue, because signal handlers may put into it at any moment.
"""

START_SECONDS = 60.0


class Ended(Exception):
    """The demo is over before it began."""

    def __init__(self, problem: str | None) -> None:
        super().__init__(problem)
        self.problem = problem


def until_ready(address: tuple[str, int], queue: Queue, events: Events) -> None:
    """Return when the page answers and the worker has done a task; raise Ended at an event, or if it takes too long."""
    task = queue.send("hello")
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline:
        with suppress(Empty):
            raise Ended(events.get(timeout=0.05))
        progress = progresskit.get(task)
        if progress is not None and progress.done and _answers(address):
            return
    raise Ended(f"the worker has not taken a task for {START_SECONDS:g} s")


def _answers(address: tuple[str, int]) -> bool:
    # Not urllib: it would use a proxy of the environment, which cannot reach this address.
    connection = HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
