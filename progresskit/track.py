"""
Counting a loop at C speed.

`compress(items, repeat(True, N))` hands items through and takes one from the `repeat` for each, all in C; how far the
loop is, is what the `repeat` has left, which `operator.length_hint` reads from any thread without disturbing it. A
generator chained behind the items runs when they are used up. It is given a token: if the loop is left early the
generator never runs, and the token's `__del__` tells.
"""

from __future__ import annotations

from itertools import chain, compress, repeat
from operator import length_hint
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    from .observer import ProgressObserver
    from .reports import Counter

Item = TypeVar("Item")

_ENDLESS = 2**62
_BLOCK = 4_096


def count_loop(items: Iterable[Item], job: ProgressObserver, total: float | None, opened: bool) -> Iterator[Item]:
    """
    Return an iterator over the items that the job counts by; at its end it ends the job if that was opened for it.

    Within a loop that counts for the same job already, the items are returned as they are.
    """
    counter = _StoppableCounter(job.id) if job.cancellable else _LoopCounter()
    if not job.count_with(counter, total):
        return iter(items)
    return chain(compress(items, counter.selectors()), _at_end(_Loop(job, counter, opened)))


class EitherLoop:
    """A loop over items that can be iterated in both ways, as a QuerySet of Django's: it is one or the other."""

    def __init__(self, items: Any, job: ProgressObserver, total: float | None, opened: bool) -> None:
        self._counted = items, job, total, opened

    def __iter__(self) -> Iterator[Any]:
        return count_loop(*self._counted)

    def __aiter__(self) -> AsyncIterator[Any]:
        return acount_loop(*self._counted)


async def acount_loop(
    items: AsyncIterable[Item], job: ProgressObserver, total: float | None, opened: bool
) -> AsyncIterator[Item]:
    """Do for an async iterable what `count_loop` does; each step is made in Python anyway."""
    counter = _StepCounter(job.id)
    counting = job.count_with(counter, total)
    loop = _Loop(job, counter, opened)
    async for item in items:
        if counting:
            counter.step()
        yield item
    from asyncio import to_thread

    await to_thread(loop.complete)


class _Loop:
    """
    One run of a loop; dropped before it is complete, it was left early.

    It cannot be seen whether by a `break` or by an error.
    """

    __slots__ = ("_complete", "_counter", "_job", "_opened")

    def __init__(self, job: ProgressObserver, counter: Counter, opened: bool) -> None:
        self._job, self._counter, self._opened = job, counter, opened
        self._complete = False

    def complete(self) -> None:
        self._complete = True
        self._counter.finish()
        self._job.stop_counting(self._counter)
        if self._opened:
            self._job.succeed()

    def __del__(self) -> None:
        # As for a job's own finalizer: what takes a lock is left to the publisher's thread.
        if not self._complete:
            self._counter.left = True
            job, counter, opened = self._job, self._counter, self._opened
            job.later(lambda: _leave(job, counter, opened))


def _leave(job: ProgressObserver, counter: Counter, opened: bool) -> None:
    job.stop_counting(counter)
    if opened:
        job.abandon()


def _at_end(loop: _Loop) -> Iterator[Item]:
    loop.complete()
    return
    yield  # a generator, whose first `next` comes when the items are used up


class _LoopCounter:
    """Counts a loop that nobody can stop from outside."""

    def __init__(self) -> None:
        self.left = False
        self._selectors = repeat(True, _ENDLESS)
        self._finished = False

    def selectors(self) -> Iterator[bool]:
        return self._selectors

    def taken(self) -> int:
        return _ENDLESS - length_hint(self._selectors)

    def done(self) -> int:
        taken = self.taken()
        return taken if self._finished or not taken else taken - 1

    def finish(self) -> None:
        self._finished = True

    def stop(self) -> None:
        """Nothing: the job is not cancellable."""


class _StoppableCounter(_LoopCounter):
    """
    Counts in blocks, each a `repeat` of its own; to stop the loop, what is left of the block is taken away from it.

    The loop then comes back to `_blocks`, which raises, at its very next item, however long the block would have been.
    """

    def __init__(self, id: str) -> None:
        super().__init__()
        self._id = id
        self._lock = Lock()
        self._stopped = False
        self._withheld = 0
        self._end, self._block = 0, repeat(True, 0)

    def selectors(self) -> Iterator[bool]:
        return chain.from_iterable(self._blocks())

    def _blocks(self) -> Iterator[Iterator[bool]]:
        while True:
            with self._lock:
                if self._stopped:
                    self.finish()
                    raise Cancelled(self._id)
                self._end += _BLOCK
                block = self._block = repeat(True, _BLOCK)
            yield block

    def taken(self) -> int:
        with self._lock:
            return self._end - length_hint(self._block) - self._withheld

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._withheld += len(list(self._block))


class _StepCounter:
    """Counts a loop that tells of each step."""

    def __init__(self, id: str) -> None:
        self.left = False
        self._id = id
        self._taken = 0
        self._stopped = self._finished = False

    def step(self) -> None:
        if self._stopped:
            self.finish()
            raise Cancelled(self._id)
        self._taken += 1

    def done(self) -> int:
        return self._taken if self._finished or not self._taken else self._taken - 1

    def finish(self) -> None:
        self._finished = True

    def stop(self) -> None:
        self._stopped = True
