"""The rate of a job and the time it has left, from samples of its count."""

from __future__ import annotations

from math import exp

TIME_CONSTANT = 10.0
"""Seconds after which a sample weighs 1/e of a new one."""

LIMIT = 2.0**53

SETTLING = 0.5
"""Seconds of samples before a rate is told; a shorter stretch says little."""


class RateEstimator:
    """
    Items per second, newer samples weighing more.

    The rate is the ratio of two sums, items and seconds, both decayed by exp(-dt / TIME_CONSTANT) at each sample: an
    exponentially weighted average that does not depend on how the samples are spaced and needs no correction at the
    start. A count that goes back starts it anew.
    """

    __slots__ = ("_count", "_elapsed", "_items", "_time")

    def __init__(self, count: float, time: float) -> None:
        self._restart(count, time)

    def _restart(self, count: float, time: float) -> None:
        self._count, self._time = count, time
        self._items = self._elapsed = 0.0

    def sample(self, count: float, time: float) -> None:
        """Take the count as of `time` (seconds of any clock that does not go back)."""
        seconds = time - self._time
        if count < self._count:
            self._restart(count, time)
        elif seconds > 0:
            decay = exp(-seconds / TIME_CONSTANT)
            self._items = self._items * decay + (count - self._count)
            self._elapsed = self._elapsed * decay + seconds
            self._count, self._time = count, time

    @property
    def rate(self) -> float | None:
        """Items per second; None until there is something to go by."""
        if self._elapsed < SETTLING or not self._items:
            return None
        return _significant(self._items / self._elapsed)

    def eta(self, total: float | None) -> float | None:
        """Seconds until `total` at the present rate; None where that is not known."""
        rate = self.rate
        if total is None or not rate:
            return None
        return _significant(max(total - self._count, 0) / rate)


def _significant(value: float) -> float | None:
    """Cut to four digits, more than an estimate is worth; None for what is too large to mean anything."""
    return float(f"{value:.4g}") if value < LIMIT else None
