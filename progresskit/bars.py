"""
Bars of tqdm as the loops of a job.

A bar counts for itself. The publisher reads its position, so that an update of the bar costs nothing more; description,
postfix and total are taken over whenever the bar is drawn, which is at most ten times a second. The loop over the items
of a bar is counted in C, as that of `track()`: tqdm notes the position of such a loop only when it draws the bar.
"""

from __future__ import annotations

from itertools import chain, compress
from math import isfinite
from threading import current_thread
from typing import TYPE_CHECKING, Any
from weakref import ref

from . import validation
from .loops import repeat_counter
from .observer import job_of, stage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .loops import RepeatCounter
    from .observer import ProgressObserver

DEFAULT_UNIT = "it"
"""The unit of a bar that was not given one."""

_BY_POSITION = ("iterable", "desc", "total")
"""The arguments of a bar that are given by position as a rule."""


def report_bar(bar: Any, observer: ProgressObserver, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BarReporter:
    """Return the reporter of a new bar; `args` and `kwargs` are the arguments of the bar."""
    count = job_of(observer).count_at_once
    if count is None:
        return BarReporter(bar, observer, args, kwargs)
    return _PoolBarReporter(bar, observer, args, kwargs, count)


class BarReporter:
    """
    Reports one bar to a job, or to one of its steps, until `end`: it is the counter of a loop.

    `args` and `kwargs` are those of the bar, because a bar that is disabled does not keep them. A bar that is made in
    the body of another one refines its item; then it leaves the description of the job alone.
    """

    __slots__ = (
        "__weakref__",
        "_bar",
        "_hidden",
        "_is_outer",
        "_last",
        "_loop",
        "_observer",
        "_scale",
        "_seen",
        "_total",
        "finished",
        "left",
    )

    def __init__(self, bar: Any, observer: ProgressObserver, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        options = {**dict(zip(_BY_POSITION, args, strict=False)), **kwargs}
        self._bar, self._observer = ref(bar), observer
        self._loop: RepeatCounter | None = None
        self._hidden: float | None = _number(bar.n) if bar.disable else None
        self._last: float = 0
        self._scale = _scale(options.get("unit_scale"))
        self.left = self.finished = False
        self._total, total, unit = bar.total, self._scaled(bar.total), options.get("unit")
        self._seen: tuple[Any, Any] = ("", "")  # a bar without a description keeps that of the job
        self._is_outer = job_of(observer).count_with(
            stage_of(observer), self, total, None if unit == DEFAULT_UNIT else unit, body=ref(bar)
        )
        if bar.disable:
            bar.desc, bar.update = options.get("desc") or "", self.count
        self._take_over(bar)

    # The counter of a loop.

    def done(self) -> float:
        """Return how far the bar is."""
        bar = self._bar()
        if bar is not None and not self.left:
            self._last = self._position(bar)
            if bar.total != self._total:
                self._take_total(bar)
        return self._last

    def _take_total(self, bar: Any) -> None:
        """Take over a total that was assigned: a bar that is disabled is never drawn."""
        self._total, total = bar.total, self._scaled(bar.total)
        if total is None or total <= validation.LIMIT:
            job_of(self._observer).retotal(stage_of(self._observer), self, total)

    def _position(self, bar: Any) -> float:
        number = _number(bar.n) if self._hidden is None else self._hidden
        if self._loop is not None:
            number = max(number, self._loop.done())
        return number * self._scale

    def finish(self) -> None:
        """Count the last item of the loop over the bar as done too."""
        if self._loop is not None:
            self._loop.finish()

    def stop(self) -> None:
        """Raise Cancelled in the loop over the bar; the next drawing of the bar raises it elsewhere."""
        if self._loop is not None:
            self._loop.stop()

    # The bar.

    def count(self, n: float | None = 1) -> None:
        """Count for a bar that is disabled: it does not do so itself."""
        if self._hidden is not None and n is not None:
            self._hidden += n
        if self._observer.cancellable:
            self._observer.check_cancelled()

    def iterate(self, bar: Any, original: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Return an iterator over the items of the bar, which counts; `original` returns that of the bar."""
        if self.left or bar.iterable is None:
            return iter(original())
        if bar.disable:
            return chain(self._counted(bar.iterable), self._at_end(bar))
        bar.iterable = _CountedItems(bar, self._counted)
        return iter(original())

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        loop = self._loop = repeat_counter(self._observer)
        if self._observer.cancel_requested:
            loop.stop()
        return compress(items, loop.selectors())

    def _at_end(self, bar: Any) -> Iterator[Any]:
        self.finish()
        self.end()
        return
        yield

    def draw(self) -> None:
        """Take over total, description and postfix. Raises Cancelled in a cancellable job that was asked to stop."""
        bar = self._bar()
        if bar is None or self.left or type(current_thread()).__name__ == "TMonitor":
            return  # tqdm's own thread must not be stopped by a job
        if self._observer.cancellable:
            self._observer.check_cancelled()
        self._take_over(bar)

    def reset(self) -> None:
        """Count from 0 again."""
        self._loop = None
        if self._hidden is not None:
            self._hidden = 0

    def end(self) -> None:
        """Count no more; safe in a finalizer of the bar, and without effect when the bar has ended."""
        bar = self._bar()
        if self.left or bar is None:
            return
        self._last = self._position(bar)
        total = self._scaled(bar.total)
        self.finished = total is not None and self._last >= total
        self.left = True
        job, stage = job_of(self._observer), stage_of(self._observer)
        job.call_later(lambda: job.stop_counting(stage, self))

    def _take_over(self, bar: Any) -> None:
        if bar.total != self._total:
            self._take_total(bar)
        seen = getattr(bar, "desc", ""), getattr(bar, "postfix", None) or ""
        if seen == self._seen:
            return
        before, self._seen = self._seen, seen
        description, postfix = seen
        if description != before[0] and self._is_outer:
            self._observer.update(description=str(description).removesuffix(": "))
        if postfix != before[1]:
            self._observer.update(meta=_meta(postfix))

    def _scaled(self, total: Any) -> float | None:
        return None if total is None else _number(total) * self._scale


class _PoolBarReporter(BarReporter):
    """
    Reports a bar in a process of a pool, see pool.py: each item is counted for the job of the parent at once.

    A bar in the body of another one does not count, and neither does a bar with a position that is set.
    """

    __slots__ = ("_count", "_in_hand")

    def __init__(
        self,
        bar: Any,
        observer: ProgressObserver,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        count: Callable[[float], None],
    ) -> None:
        self._count, self._in_hand = count, False
        super().__init__(bar, observer, args, kwargs)
        if not bar.disable:
            bar.update = self._update

    def _update(self, n: float | None = 1) -> Any:
        bar = self._bar()
        drawn = None if bar is None else type(bar).update(bar, n)
        self._count_update(n)
        return drawn

    def count(self, n: float | None = 1) -> None:
        super().count(n)
        self._count_update(n)

    def _count_update(self, n: float | None) -> None:
        if not self._in_hand:  # in the loop over a bar, tqdm updates it whenever it draws it
            self._count_items(n)

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        return chain(map(self._take, super()._counted(items)), self._after_last())

    def _take(self, item: Any) -> Any:
        self._count_item_in_hand()
        self._in_hand = True
        return item

    def _after_last(self) -> Iterator[Any]:
        self._count_item_in_hand()
        return
        yield

    def _count_item_in_hand(self) -> None:
        if self._in_hand:
            self._in_hand = False
            self._count_items(1)

    def _count_items(self, n: float | None) -> None:
        job = job_of(self._observer)
        job.admit()
        number = None if n is None else job.validated("n", validation.change, n * self._scale)
        if number is not None and self._is_outer and not self.left:
            self._count(number)


class _CountedItems:
    """The items of a bar that is drawn, in their place until the loop of tqdm asks for them."""

    __slots__ = ("_bar", "_counted", "_items")

    def __init__(self, bar: Any, counted: Callable[[Iterable[Any]], Iterator[Any]]) -> None:
        self._bar, self._counted, self._items = bar, counted, bar.iterable

    def __iter__(self) -> Iterator[Any]:
        self._bar.iterable = self._items
        return self._counted(self._items)


def _number(value: Any) -> float:
    """Return a position that a job can have: no negative one, and none that is no number."""
    try:
        number: float = value if type(value) in (int, float) else float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return number if number >= 0 and isfinite(number) else 0


def _scale(unit_scale: Any) -> float:
    """Return the factor by which a bar shows its numbers; True only chooses the prefix of the unit."""
    return 1 if unit_scale is None or unit_scale in (True, False) else unit_scale


def _meta(postfix: Any) -> dict[str, Any]:
    """Return the postfix of a bar by its names, where it is made of such; numbers as numbers."""
    text = str(postfix)
    pairs = [pair.partition("=") for pair in text.split(", ")]
    if not all(name and separator for name, separator, _ in pairs):
        return {"postfix": text} if text else {}
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    if not isfinite(number):
        return text
    return int(number) if number.is_integer() and text.lstrip("+-").isdigit() else number
