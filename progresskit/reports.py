"""
What a job reports: called by the worker once per item, or a million times a second.

`advance` and `set_progress` are one store behind one comparison. `_gate` is the largest count that may be stored just
so, and `_step` is 1; the gate is shut (-1 and None) whenever a call has to do something else first, such as to stop the
job, or to wake the publisher after a quiet time. Everything that takes longer is done by the publisher, which samples
what was stored.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol

from . import validation
from .errors import Cancelled, InvalidValue
from .recorder import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OPEN = validation.LIMIT // 2  # counts beyond are checked one by one, so that the hot path need not look at the sum
_SHUT = -1


class Counter(Protocol):
    """Counts for `track()`, outside of Python."""

    left: bool
    """True once its loop was left early: it counts no more."""

    def done(self) -> int:
        """Return how many items are done: the one in hand is not."""

    def finish(self) -> None:
        """Count the last item as done too: the loop has asked for another one."""

    def stop(self) -> None:
        """Raise Cancelled in the loop instead of giving it another item."""


class Waker(Protocol):
    """What a job needs to know of its publisher while it reports."""

    strict: bool

    def wake(self) -> None:
        """Look at the jobs soon: one of them has news after a quiet time."""


class _Details:
    """The reported values that the hot path does not touch."""

    __slots__ = ("meta", "total", "total_given", "unit")

    def __init__(self) -> None:
        self.total: float | None = None
        self.total_given = False  # False for the total of a loop, which another loop replaces
        self.unit: str | None = None
        self.meta: dict[str, Any] = {}


class Reports:
    """
    The values of a job as its worker reports them.

    Reporting does no I/O, never blocks, and never raises because of a backend or a bad value: a bad value is dropped
    and counted in `dropped`, unless the kit is strict.
    """

    __slots__ = (
        "_counter",
        "_current",
        "_description",
        "_details",
        "_ended",
        "_gate",
        "_lock",
        "_quiet",
        "_step",
        "_total",
        "_waker",
        "cancel_requested",
        "cancellable",
        "dropped",
        "id",
    )

    _current: float
    _description: str | None
    _step: int | None

    def advance(self, n: float = 1) -> None:
        """Count `n` more items as done."""
        if n is self._step:
            self._current += 1
        elif type(n) is int and 0 <= n <= self._gate - self._current:  # a sum might be too large for a float
            self._current += n
        else:
            self._advance(n)

    def set_progress(self, current: float, total: float | None = None, description: str | None = None) -> None:
        """Say how many items are done, of how many, and what is going on; None leaves a value as it is."""
        if (
            type(current) is int
            and 0 <= current <= self._gate
            and (total is self._total or total is None)
            and (description is None or type(description) is str)
        ):
            self._current = current
            if description is not None:
                self._description = description  # cut and cleaned when it is sampled, not at each call
        else:
            self._set(current, total, description)

    def __init__(self, waker: Waker, id: str, cancellable: bool) -> None:
        self.id, self.cancellable = id, cancellable
        self.cancel_requested = False
        self.dropped = 0
        """How many bad values were dropped."""
        self._waker = waker
        self._current = 0
        self._gate, self._step = _OPEN, 1
        self._total: Any = None
        self._description = None
        self._details = _Details()
        self._counter: Counter | None = None
        self._quiet = self._ended = False
        self._lock = RLock()  # somebody's finalizer may run, and report, while its own thread is in here

    def update(
        self,
        *,
        current: float | None = None,
        total: float | None = None,
        description: str | None = None,
        unit: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Set what is given; `meta` (at most 8 KiB as JSON) replaces the one before."""
        self._set(current, total, description)
        if self._ended:
            return
        self._set_detail("unit", validation.text, unit)
        self._set_detail("meta", validation.meta, meta)

    def check_cancelled(self) -> None:
        """Raise Cancelled if somebody asked the job to stop."""
        if self.cancel_requested:
            raise Cancelled(self.id)

    # What the hot path leaves over.

    def _advance(self, n: Any) -> None:
        if not self._admit():
            return
        try:
            number = validation.count(n)
            validation.count(self._current + number)
        except ValueError as problem:
            self._drop("n", problem)
        else:
            self._current += number  # no call between load and store, where another thread could come in
        self._open_gate()

    def _set(self, current: Any, total: Any, description: Any) -> None:
        if not self._admit():
            return
        if total is not None:
            self._set_total(total)
        if current is not None:
            self._set_current(current)
        if type(description) is str:
            self._description = description
        elif (kept := self._kept("description", validation.text, description)) is not None:
            self._description = kept

    def _set_total(self, total: Any) -> None:
        try:
            self._details.total = validation.count(total)
        except ValueError as problem:
            self._drop("total", problem)
        else:
            self._total = total  # as it came, so that set_progress knows it again by identity
            self._details.total_given = True

    def _set_current(self, current: Any) -> None:
        try:
            number = validation.count(current)
        except ValueError as problem:
            self._drop("current", problem)
        else:
            if self._counter is not None:
                self.stop_counting(self._counter)
            self._current = number
            self._open_gate()

    def _set_detail(self, name: str, convert: Callable[[Any], Any], value: Any) -> None:
        kept = self._kept(name, convert, value)
        if kept is not None:
            setattr(self._details, name, kept)

    def _kept(self, name: str, convert: Callable[[Any], Any], value: Any) -> Any:
        """Return the value as it is kept; None for none and for a bad one."""
        if value is None:
            return None
        try:
            return convert(value)
        except ValueError as problem:
            self._drop(name, problem)
            return None

    def _drop(self, name: str, problem: ValueError) -> None:
        if self._waker.strict:
            raise InvalidValue(f"{name} {problem}") from None
        self.dropped += 1
        if self.dropped == 1:
            from logging import getLogger

            getLogger("progresskit").warning(
                "Job %s: a bad value was dropped, as later ones will be without a word: %s %s", self.id, name, problem
            )

    def _admit(self) -> bool:
        """Do what the gate was shut for; return whether the job still takes reports."""
        if self._ended:
            return False
        if self.cancel_requested and self.cancellable:
            raise Cancelled(self.id)
        if self._quiet:
            self._quiet = False
            self._open_gate()
            self._waker.wake()
        return True

    def _open_gate(self) -> None:
        # While track() counts, each call is looked at, so that both do not count the same items.
        shut = (
            self._ended
            or self._quiet
            or self._counter is not None
            or self._current > _OPEN
            or (self.cancel_requested and self.cancellable)
        )
        if shut:
            self._shut_gate()
        else:
            self._gate, self._step = _OPEN, 1

    def _shut_gate(self) -> None:
        self._gate, self._step = _SHUT, None

    # What track() does to a job.

    def count_with(self, counter: Counter, total: float | None, unit: str | None = None) -> bool:
        """
        Add what the counter counts to the job, in that unit; return False if another one is counting already.

        Where nobody gave the job a total, the loop makes it its own: the count begins at 0 and the total is this one.
        """
        kept = self._kept("unit", validation.text, unit)
        with self._lock:
            if self._counter is not None and self._counter.left:
                self._fold_counter()
            if self._counter is not None or self._ended:
                return False
            if kept is not None:
                self._details.unit = kept
            if not self._details.total_given:
                self._current, self._total, self._details.total = 0, None, None
                if total is not None:
                    self._set_total(total)
                    self._details.total_given = False
            self._counter = counter
            self._shut_gate()
        if self.cancel_requested and self.cancellable:
            counter.stop()
        return True

    def stop_counting(self, counter: Counter) -> None:
        """Keep what the counter has counted, and count by calls again."""
        with self._lock:
            if self._counter is counter:
                self._fold_counter()
        self._open_gate()

    def _fold_counter(self) -> None:
        if self._counter is not None:
            self._current = self._count()
            self._counter = None

    def _count(self) -> float:
        return self._current if self._counter is None else min(self._current + self._counter.done(), validation.LIMIT)

    # What the publisher does.

    def read(self) -> Reading:
        """Return what was reported until now; not without the lock."""
        details = self._details
        return Reading(
            self._count(), details.total, self._description, details.unit, details.meta, self.cancel_requested
        )

    def ask_to_wake(self) -> None:
        """Have the next report wake the publisher."""
        self._quiet = True
        self._shut_gate()

    def request_cancel(self) -> None:
        """Let the job know that it is asked to stop."""
        self.cancel_requested = True
        if self.cancellable:
            self._shut_gate()
            counter = self._counter
            if counter is not None:
                counter.stop()
