"""Calls a backend for coroutines, in a few threads of the kit's own: those of an event loop are the site's."""

from __future__ import annotations

from asyncio import get_running_loop
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Awaitable, Callable, Collection

    from .progress import Progress

    Records = dict[str, Progress]
    Argument = TypeVar("Argument")
    Result = TypeVar("Result")

COUNT = 8
"""How many calls may be under way at once; reads that wait for their turn are made together."""

BATCH = 1_000
"""A read of this many ids is not joined by others."""


class _Read:
    """Some ids that are about to be read, and the futures that wait for the records, by event loop."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.waiting: defaultdict[AbstractEventLoop, list[Future[Records]]] = defaultdict(list)


class BlockingExecutor:
    """A few threads, started when they are needed; `read` is the function that returns the records of some ids."""

    def __init__(self, read: Callable[[Collection[str]], Records]) -> None:
        self._read = read
        self._executor = ThreadPoolExecutor(COUNT, "progresskit-call")
        self._lock = Lock()
        self._next: _Read | None = None

    def call(self, call: Callable[[Argument], Result], argument: Argument) -> Awaitable[Result]:
        """Make a call."""
        return get_running_loop().run_in_executor(self._executor, copy_context().run, call, argument)

    def read(self, ids: Collection[str]) -> Awaitable[Records]:
        """Read the ids: all reads that wait for a thread are joined into one."""
        loop = get_running_loop()
        waiter: Future[Records] = loop.create_future()
        with self._lock:
            read = self._next
            if read is None or len(read.ids) >= BATCH:
                read = self._next = _Read()
                self._executor.submit(self._run, read)
            read.ids.update(ids)
            read.waiting[loop].append(waiter)
        return waiter

    def _run(self, read: _Read) -> None:
        with self._lock:
            if self._next is read:
                self._next = None
        records: Records = {}
        problem: BaseException | None = None
        try:
            records = self._read(read.ids)
        except BaseException as error:
            problem = error
        for loop, waiters in read.waiting.items():
            with suppress(RuntimeError):  # the loop has been closed, and its futures with it
                loop.call_soon_threadsafe(_answer, waiters, records, problem)

    def close(self) -> None:
        """End the threads when they have made the calls that were asked for."""
        self._executor.shutdown(wait=False)


def _answer(waiters: list[Future[Records]], records: Records, problem: BaseException | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if problem is None:
            waiter.set_result(records)
        else:
            waiter.set_exception(problem)
