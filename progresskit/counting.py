"""
The count of a job or of one of its steps: the slots that reports are stored in, and the operations on them.

The slots are attributes of the object whose methods are the reports, because a call that passed a report on would cost
more than the report. Everything else about the count is here.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import ref

from . import validation

OPEN = validation.LIMIT // 2
"""The gate while it is open: larger counts are checked one by one, so that the hot path need not look at the sum."""

OPEN_TO_SMALL = 2**30 - 1
"""The gate while it is open and no count was larger: CPython compares integers of one digit faster."""

SHUT = -1
"""The gate while each report takes the slow path."""


class LoopCounter(Protocol):
    """Counts the items of a loop, outside of the job."""

    left: bool
    """True once its loop was left early: it counts no more."""

    finished: bool
    """True once its loop has used up the items."""

    def done(self) -> float:
        """Return how many items are done: the one in hand is not."""

    def finish(self) -> None:
        """Count the last item as done too: the loop has asked for another one."""

    def stop(self) -> None:
        """Raise Cancelled in the loop instead of giving it another item."""


class SharedCount(Protocol):
    """The counts of other processes, read by this process."""

    def done(self) -> float:
        """Return how many items are done since the last restart."""

    def restart(self) -> None:
        """Begin at 0 again."""

    def take_text(self) -> str | None:
        """Return the newest description, once; None where there is no new one."""

    def stop(self) -> None:
        """Let the other processes know that the job was asked to stop."""

    def close(self) -> float:
        """Return how many items are done, for the last time."""


class CountSlots:
    """
    The values that `advance` and `set_progress` read and write.

    `_gate` is the largest count that is stored without another look and `_one` is 1, or the gate is shut: -1 and None.
    """

    __slots__ = ("__weakref__", "_current", "_gate", "_one", "_total")

    _current: float
    _gate: int
    _one: int | None
    _total: Any
    """The total as it was given, so that `set_progress` recognises it by identity."""

    def __init__(self) -> None:
        self._current = 0
        self._gate, self._one = OPEN_TO_SMALL, 1
        self._total = None

    def _shut_gate(self) -> None:
        """Have each report take the slow path."""
        self._gate, self._one = SHUT, None


class Count:
    """
    One count, apart from the slots, which are referred to weakly: they may belong to a handle that is dropped.

    For one thread at a time: the job guards it.
    """

    __slots__ = (
        "_counter",
        "_last",
        "_slots",
        "given_unit",
        "is_closed",
        "is_of_loop",
        "loop_unit",
        "restarts",
        "shared",
        "total",
        "total_is_given",
    )

    def __init__(self, slots: CountSlots) -> None:
        self._slots = ref(slots)
        self._last: float = 0
        self._counter: LoopCounter | None = None
        self.total: float | None = None
        self.total_is_given = False
        """False for the total of a loop, which another loop replaces."""
        self.given_unit: str | None = None
        self.loop_unit: str | None = None
        """The unit of the last loop, until another one counts."""
        self.is_of_loop = False
        """True while the count is that of the last loop, which another loop or step replaces."""
        self.is_closed = False
        """True while no item may be counted: the step is not entered, or the job counts by steps."""
        self.restarts = 0
        """How often the count began at 0 again."""
        self.shared: SharedCount | None = None
        """The counts of other processes, which are added to the count of this process."""

    @property
    def slots(self) -> CountSlots | None:
        """The slots, while their handle lives."""
        return self._slots()

    @property
    def current(self) -> float:
        """How many items are done, those of a loop that counts and of other processes included."""
        own = self._own()
        return own if self.shared is None else _within_limits(own + self.shared.done())

    def _own(self) -> float:
        """Return how many items are done in this process."""
        slots, counter = self._slots(), self._counter
        if slots is not None:
            self._last = slots._current
        return self._last if counter is None else min(self._last + counter.done(), validation.LIMIT)

    @property
    def unit(self) -> str | None:
        """The unit of the items: that of the loop, or the one that was given."""
        return self.loop_unit or self.given_unit

    def give_unit(self, unit: str) -> None:
        """Set the unit, which counts for all loops that have none."""
        self.given_unit, self.loop_unit = unit, None

    def keep(self, slots: CountSlots) -> None:
        """Keep the count of the slots, also for when their handle is gone; safe in its finalizer."""
        self._last = slots._current

    def _store(self, current: float) -> None:
        slots = self._slots()
        if slots is None:
            self._last = current
        else:
            slots._current = current

    def open_gate(self) -> None:
        """Let reports be stored without another look, unless a loop counts: both would count the same items."""
        slots = self._slots()
        if slots is not None and self._counter is None and slots._current <= OPEN and not self.is_closed:
            slots._gate, slots._one = OPEN_TO_SMALL if slots._current <= OPEN_TO_SMALL else OPEN, 1
        else:
            self.shut_gate()

    def shut_gate(self) -> None:
        """Have each report take the slow path."""
        slots = self._slots()
        if slots is not None:
            slots._shut_gate()

    def give_total(self, total: float, given: Any) -> None:
        """Set the total, which was given as that object: loops add up to it."""
        self.total, self.total_is_given, self.is_of_loop = total, True, False
        slots = self._slots()
        if slots is not None:
            slots._total = given

    # Loops.

    @property
    def is_looped(self) -> bool:
        """True while a loop counts."""
        return self._counter is not None

    def is_free(self) -> bool:
        """Return whether a loop may count: no other one does, or that was left."""
        if self._counter is not None and self._counter.left:
            self.fold()
        return self._counter is None

    def restart(self, total: float | None = None) -> None:
        """Begin at 0 again, with the total of a loop."""
        self.clear()
        self.total, self.total_is_given, self.is_of_loop = total, False, False
        self.loop_unit = None
        slots = self._slots()
        if slots is not None:
            slots._total = None

    def clear(self) -> None:
        """Begin at 0 again, with the same total."""
        self._store(0)
        if self.shared is not None:
            self.shared.restart()
        self.restarts += 1

    def count_with(self, counter: LoopCounter) -> None:
        """Add the counter's items to the count."""
        self._counter = counter
        self.shut_gate()

    def retotal(self, counter: LoopCounter, total: float | None) -> None:
        """Replace the total of a loop, if it is that which counts and the total is its own."""
        if counter is self._counter and self.is_of_loop:
            self.total = total

    def fold(self, counter: LoopCounter | None = None) -> None:
        """
        Store the items of a loop in the slots; it counts no more.

        With a `counter`, without effect if another one counts.
        """
        if self._counter is not None and counter in (None, self._counter):
            self._store(self._own())
            self._counter = None

    def fold_shared(self) -> None:
        """Add the counts of other processes to the own count, and read them no more."""
        if self.shared is not None:
            self._store(_within_limits(self._own() + self.shared.close()))
            self.shared = None

    def stop_loop(self) -> None:
        """Raise Cancelled in the loop that counts, if there is one."""
        counter = self._counter
        if counter is not None:
            counter.stop()


def _within_limits(count: float) -> float:
    """Return a sum of counts as one: other processes may have lowered what this one has counted."""
    return min(max(count, 0), validation.LIMIT)
