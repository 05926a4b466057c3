"""Jobs of every kind, which go on until each is asked to end, and what they must never see of the backend."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from threading import Event, Thread
from typing import NamedTuple

from progresskit import Cancelled, Kit, State
from tests.services.waiting import PATIENCE

PACE_SECONDS = 0.05
"""Between two reports of a job: each sample of the publisher finds a new one or two, at little cost to the machine."""


def kit_on(url: str) -> Kit:
    """Return a kit whose times are short, so that a fault is long beside them; it samples as often as any."""
    return Kit(url, lease=3.0, heartbeat=1.0, strict=True)


class Ending(NamedTuple):
    """How a job ended, as its worker saw it."""

    state: State
    current: float


class Meant(Exception):
    """What a job that is to fail raises by itself."""


def counted(kit: Kit, id: str, ending: Event) -> Ending:
    """Call `advance()` for each item."""
    number = 0
    with kit.observe(id, total=1_000_000, description="counted by advance()") as observer:
        while not ending.wait(PACE_SECONDS):
            observer.advance()
            number += 1
    return Ending(State.SUCCEEDED, number)


def tracked(kit: Kit, id: str, ending: Event) -> Ending:
    """Count by `track()`."""
    numbers = count()
    items = iter(lambda: ending.wait(PACE_SECONDS), True)
    for _ in kit.track(items, id=id, meta={"about": "é" * 200}):
        next(numbers)
    return Ending(State.SUCCEEDED, next(numbers))


def failing(kit: Kit, id: str, ending: Event) -> Ending:
    """End by an error of its own."""
    number = 0.0
    try:
        with kit.observe(id) as observer:
            while not ending.wait(PACE_SECONDS):
                observer.advance(0.5)
                number += 0.5
            raise Meant("it had to")
    except Meant:
        return Ending(State.FAILED, number)


def leaving(kit: Kit, id: str, ending: Event) -> Ending:
    """Call `set_progress()`, and end as what was cancelled."""
    number = 0
    try:
        with kit.observe(id, cancellable=True) as observer:
            while not ending.wait(PACE_SECONDS):
                number += 1
                observer.set_progress(number, 1_000_000, f"at {number}")
            raise Cancelled
    except Cancelled:
        return Ending(State.CANCELLED, number)


def coroutine(kit: Kit, id: str, ending: Event) -> Ending:
    """Do it in an event loop."""

    async def work() -> int:
        number = 0
        async with kit.observe(id) as observer:
            while not ending.is_set():
                observer.advance()
                number += 1
                await asyncio.sleep(PACE_SECONDS)
            observer.succeed(result={"ended": id})
        return number

    return Ending(State.SUCCEEDED, asyncio.run(work()))


KINDS: tuple[Callable[[Kit, str, Event], Ending], ...] = (counted, tracked, failing, leaving, coroutine)


class Jobs:
    """
    Works on jobs, one thread for each plan: its ids one after the other, each until it is asked to end.

    `problems` are what was raised into a job, what was logged as an error, and threads that died.
    """

    def __init__(self, kit: Kit, plans: Sequence[Sequence[str]]) -> None:
        self.kit = kit
        self.endings: dict[str, Ending] = {}
        self.problems: list[str] = []
        self._ending = {id: Event() for plan in plans for id in plan}
        self._log = ErrorLog(self.problems)
        logging.getLogger("progresskit").addHandler(self._log)
        self._threads = [Thread(target=self._work, args=(plan, place)) for place, plan in enumerate(plans)]
        for thread in self._threads:
            thread.start()

    def _work(self, plan: Sequence[str], place: int) -> None:
        for number, id in enumerate(plan, start=place):
            try:
                self.endings[id] = KINDS[number % len(KINDS)](self.kit, id, self._ending[id])
            except BaseException:
                self.problems.append(f"raised into {id}:\n{traceback.format_exc()}")

    def end(self, id: str) -> None:
        """Have a job end; one that has not begun ends as soon as it has."""
        self._ending[id].set()

    def close(self) -> None:
        """End what is left."""
        for ending in self._ending.values():
            ending.set()
        for thread in self._threads:
            thread.join()
        logging.getLogger("progresskit").removeHandler(self._log)

    def join(self) -> None:
        """Wait until all of them have ended, and all is stored; look whether something died meanwhile."""
        for thread in self._threads:
            thread.join()
        alive = {thread.name for thread in threading.enumerate()}
        if "progresskit-publisher" not in alive:
            self.problems.append(f"the publisher's thread died; {sorted(alive)} live")
        try:
            self.kit.flush(PATIENCE)
        except Exception:
            self.problems.append(f"what was reported is not stored:\n{traceback.format_exc()}")
        if self.kit.publisher.lost:
            self.problems.append(f"{self.kit.publisher.lost} records were given up")


class ErrorLog(logging.Handler):
    """Collects what no backend should be able to bring about."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._problems = problems
        self.setFormatter(logging.Formatter("logged: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._problems.append(self.format(record))
