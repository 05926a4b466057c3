"""
Counting a loop at C speed.

`compress(items, repeat(True, N))` hands items through and takes one from the `repeat` for each, all in C; the position
of the loop follows from the rest of the `repeat`, which `operator.length_hint` reads from any thread without disturbing
it. A generator chained behind the items runs when they are used up. It is given a token: if the loop is left early the
generator never runs, and the token's `__del__` runs instead. Another generator, chained before the items, runs when the
first one is asked for, in the context of the loop's body: there it makes the job the current one.
"""

from __future__ import annotations

from itertools import chain, compress, repeat
from operator import length_hint
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import ref

from . import scope
from .cancelled_error import cancelled_error
from .observer import job_of, stage_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    from .counting import LoopCounter
    from .job import Job
    from .observer import ProgressObserver
    from .scope import Scope
    from .stages import Stage

Item = TypeVar("Item")

_ENDLESS = 2**62
_BLOCK = 4_096


def count_loop(
    items: Iterable[Item], observer: ProgressObserver, total: float | None, unit: str | None, opened: bool
) -> Iterator[Item]:
    """
    Return an iterator over the items by which the job counts; its end is the end of a job that was opened for it.

    In the body of a loop that counts for the same job or step, it refines the item in hand.
    """
    counter = repeat_counter(observer)
    end = _at_inner_end(counter)
    is_outer = job_of(observer).count_with(stage_of(observer), counter, total, unit, body=ref(end), is_job=opened)
    if is_outer is None:
        return iter(items)
    if not is_outer:
        return chain(compress(items, counter.selectors()), end)
    loop = _Loop(observer, counter, opened)
    counted: Iterator[Item] = compress(items, counter.selectors())
    if loop.counts_at_once:
        counted = map(loop.take, counted)
    return chain(_at_start(loop), counted, _at_end(loop))


class EitherLoop:
    """A loop over items that can be iterated with and without `async`, as a QuerySet of Django."""

    def __init__(
        self, items: Any, observer: ProgressObserver, total: float | None, unit: str | None, opened: bool
    ) -> None:
        self._counted = items, observer, total, unit, opened

    def __iter__(self) -> Iterator[Any]:
        return count_loop(*self._counted)

    def __aiter__(self) -> AsyncIterator[Any]:
        return AsyncLoop(*self._counted)


class AsyncLoop(Generic[Item]):
    """
    The loop of `count_loop` over an async iterable, where each step runs Python code anyway.

    It is no async generator: one that is dropped is closed by the event loop some time later, and until then its job
    would be the current one of the code after the loop.
    """

    def __init__(
        self,
        items: AsyncIterable[Item],
        observer: ProgressObserver,
        total: float | None,
        unit: str | None,
        opened: bool,
    ) -> None:
        self._counted = observer, total, unit, opened
        self._counter = _StepCounter(observer.id)
        self._loop: _Loop | None = _Loop(observer, self._counter, opened)
        self._items = items
        self._iterator: AsyncIterator[Item] | None = None
        self._counting = self._counts_at_once = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        loop = self._loop
        if loop is None:
            raise StopAsyncIteration
        try:
            item = await anext(self._iterator or self._begin(loop))
            if self._counting:
                self._counter.step()
            if self._counts_at_once:
                loop.take(item)
        except StopAsyncIteration:
            self._loop = None
            loop.leave_scope()  # not in the thread, which has a copy of this context
            from asyncio import to_thread

            await to_thread(loop.complete)
            raise
        except BaseException:
            self._loop = None
            raise
        return item

    def _begin(self, loop: _Loop) -> AsyncIterator[Item]:
        observer, total, unit, opened = self._counted
        is_outer = job_of(observer).count_with(
            stage_of(observer), self._counter, total, unit, body=ref(self), is_job=opened
        )
        self._counting = is_outer is not None
        self._counts_at_once = bool(is_outer) and loop.counts_at_once
        loop.enter_scope()
        self._iterator = aiter(self._items)
        return self._iterator

    async def aclose(self) -> None:
        """Leave the loop where it is."""
        self._loop = None


class _Loop:
    """
    One run of a loop; dropped before it is complete, it was left early.

    It cannot be seen whether by a `break` or by an error.
    """

    __slots__ = ("_complete", "_count", "_counter", "_in_hand", "_observer", "_opened", "_scope")

    def __init__(self, observer: ProgressObserver, counter: LoopCounter, opened: bool) -> None:
        self._observer, self._counter, self._opened = observer, counter, opened
        self._scope: Scope | None = None
        self._count = job_of(observer).count_at_once
        self._in_hand = self._complete = False

    @property
    def counts_at_once(self) -> bool:
        """True where each item is counted by `take`, and not by reading the counter."""
        return self._count is not None

    def take(self, item: Item) -> Item:
        """Return the next item, after the one before was counted. Raises Cancelled where the loop has to stop."""
        self._count_item()
        job_of(self._observer).admit()
        self._in_hand = True
        return item

    def _count_item(self) -> None:
        if self._in_hand and self._count is not None:
            self._in_hand = False
            self._count(1)

    def enter_scope(self) -> None:
        """Make the job the current one of the loop's body, which runs in this context."""
        current = scope.current_job()
        if current is None or job_of(current) is not job_of(self._observer):
            self._scope = scope.enter(self._observer)

    def leave_scope(self) -> None:
        if self._scope is not None:
            self._scope.leave()

    def complete(self) -> None:
        self._complete = True
        self._count_item()
        self._counter.finish()
        job_of(self._observer).stop_counting(stage_of(self._observer), self._counter)
        self.leave_scope()
        if self._opened:
            self._observer.succeed()

    def __del__(self) -> None:
        # As for a job's own finalizer: the publisher's thread does all that takes a lock.
        if not self._complete:
            self.leave_scope()
            self._counter.left = True
            job, stage = job_of(self._observer), stage_of(self._observer)
            counter, opened = self._counter, self._opened
            job.call_later(lambda: _leave(job, stage, counter, opened))


def _leave(job: Job, stage: Stage, counter: LoopCounter, opened: bool) -> None:
    job.stop_counting(stage, counter)
    if opened:
        job.abandon()


def _at_start(loop: _Loop) -> Iterator[Any]:
    loop.enter_scope()
    return
    yield  # a generator, whose first `next` comes before that of the items


def _at_end(loop: _Loop) -> Iterator[Item]:
    loop.complete()
    return
    yield  # a generator, whose first `next` comes when the items are used up


def _at_inner_end(counter: LoopCounter) -> Iterator[Any]:
    counter.finish()
    return
    yield


def repeat_counter(observer: ProgressObserver) -> RepeatCounter:
    """Return a counter for a loop over `compress(items, counter.selectors())`; one to stop for a cancellable job."""
    return _StoppableCounter(observer.id) if observer.cancellable else RepeatCounter()


class RepeatCounter:
    """Counts a loop that cannot be stopped from outside."""

    def __init__(self) -> None:
        self.left = self.finished = False
        self._selectors = repeat(True, _ENDLESS)

    def selectors(self) -> Iterator[bool]:
        """Return the iterator from which the loop takes one for each item."""
        return self._selectors

    def taken(self) -> int:
        """Return how many items the loop has taken: the one in hand too."""
        return _ENDLESS - length_hint(self._selectors)

    def done(self) -> int:
        """Return how many items are done."""
        taken = self.taken()
        return taken if self.finished or not taken else taken - 1

    def finish(self) -> None:
        """Count the last item as done too."""
        self.finished = True

    def stop(self) -> None:
        """Return: the job is not cancellable."""


class _StoppableCounter(RepeatCounter):
    """
    Counts in blocks, each a `repeat` of its own; to stop the loop, the rest of the block is taken away from it.

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
                    raise cancelled_error(self._id)
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
    """Counts a loop that calls `step` for each item."""

    def __init__(self, id: str) -> None:
        self.left = self.finished = False
        self._id = id
        self._taken = 0
        self._stopped = False

    def step(self) -> None:
        if self._stopped:
            self.finish()
            raise cancelled_error(self._id)
        self._taken += 1

    def done(self) -> int:
        return self._taken if self.finished or not self._taken else self._taken - 1

    def finish(self) -> None:
        self.finished = True

    def stop(self) -> None:
        self._stopped = True
