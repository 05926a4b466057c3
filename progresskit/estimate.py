"""The rate of a job and its time left, estimated from samples of its count."""

from __future__ import annotations

from math import exp, log
from typing import NamedTuple

RATIO = 8.0
TIME_CONSTANTS = tuple(2 * RATIO**i for i in range(6))
"""Seconds after which an item weighs 1/e of a new one, for each of the averages: from 2 seconds to 18 hours."""

WINDOW = 0.5
"""The time constant of the average that is used, divided by the time left."""

WITHOUT_TOTAL = 1
"""The index of the average for a job whose total is not known."""

SETTLING = 0.5
"""Seconds from the first change of the count to the first estimate, at least."""

SLACK = 2.0
"""A pause lowers the rate when it is longer than this many times the mean time between two changes of the count."""

LIMIT = 2.0**53


class Estimate(NamedTuple):
    """
    Items per second, and seconds until the total is reached; None where there is not enough to estimate from.

    Both come from the same state. `eta` is the rest divided by `rate`, less the time since the count last changed:
    an item in hand is under way.
    """

    rate: float | None
    eta: float | None


UNKNOWN = Estimate(None, None)


class RateEstimator:
    """
    Estimates from a bank of averages; which one is used depends on the time left.

    Each average is a ratio of two sums, seconds and items, and at each change of the count both decay by
    exp(-dt / constant). That is the exponentially weighted mean of irregularly spaced samples (Eckner, "Algorithms for
    Unevenly Spaced Time Series"): the spacing of the samples does not change it, and it needs no start value.

    The one that is used has a constant of WINDOW times the time left, interpolated between two of the bank; the time
    left is that of the longest one first, and then that of the result, once. So a forecast is based on a stretch in
    proportion to its own length: nearly all of the job at first, which keeps it steady, and the last seconds near the
    end. A slow start is forgotten when it no longer matters, and a pause does not outweigh what was before it. The
    constants were tuned with benchmarks/eta.py, on other jobs than those that it reports.

    The time until the count first changes is preparation and does not count. A count that goes back starts over.
    """

    __slots__ = ("_changed", "_changes", "_count", "_elapsed", "_items", "_now", "_seconds")

    def __init__(self, count: float, time: float) -> None:
        self._restart(count, time)

    def _restart(self, count: float, time: float) -> None:
        self._count, self._changed, self._now = count, time, time
        self._changes = -1  # the first change only ends the preparation
        self._elapsed = 0.0
        self._items = [0.0] * len(TIME_CONSTANTS)
        self._seconds = [0.0] * len(TIME_CONSTANTS)

    def sample(self, count: float, time: float) -> None:
        """Take the count as of `time` (seconds of any monotonic clock)."""
        time = max(time, self._now)
        if count < self._count:
            self._restart(count, time)
        elif count > self._count:
            self._change(count, time)
        self._now = time

    def _change(self, count: float, time: float) -> None:
        seconds, items = time - self._changed, count - self._count
        if self._changes < 0:
            self._changes = 0
        elif seconds or self._changes:  # several changes in the instant in which the preparation ends are one
            all_items, all_seconds = self._items, self._seconds
            for i, constant in enumerate(TIME_CONSTANTS):
                decay = exp(-seconds / constant)
                all_items[i] = all_items[i] * decay + items
                all_seconds[i] = all_seconds[i] * decay + seconds
            self._elapsed += seconds
            self._changes += seconds > 0
        self._count, self._changed = count, time

    def estimate(self, total: float | None) -> Estimate:
        """Return the rate and the time left as of the last sample."""
        if not self._changes > 0 or self._elapsed < SETTLING:
            return UNKNOWN
        pause = self._now - self._changed
        slack = SLACK * self._elapsed / self._changes
        rate = _significant(1 / self._pace(total, max(pause - slack, 0)))
        if total is None or not rate:
            return Estimate(rate or None, None)
        left = max(total - self._count, 0) / rate
        return Estimate(rate, _significant(max(left - min(pause, slack), 0)))

    def _pace(self, total: float | None, excess: float) -> float:
        """Return seconds per item; `excess` is the part of a pause that lowers the rate."""
        if total is None:
            return self._average(WITHOUT_TOTAL, excess)
        remaining = total - self._count
        if remaining <= 0:
            return self._average(0, excess)
        pace = self._interpolated(WINDOW * remaining * self._average(-1, excess), excess)
        return self._interpolated(WINDOW * remaining * pace, excess)

    def _average(self, index: int, excess: float) -> float:
        return (self._seconds[index] + excess) / self._items[index]

    def _interpolated(self, constant: float, excess: float) -> float:
        """Return the pace of an average with this time constant, on logarithmic scales: no jump between two."""
        if constant <= TIME_CONSTANTS[0]:
            return self._average(0, excess)
        if constant >= TIME_CONSTANTS[-1]:
            return self._average(-1, excess)
        index, share = divmod(log(constant / TIME_CONSTANTS[0], RATIO), 1)
        i = min(int(index), len(TIME_CONSTANTS) - 2)
        return float(self._average(i, excess) ** (1 - share) * self._average(i + 1, excess) ** share)


def continued(rate: float, items: float, seconds: float, left: float | None) -> Estimate:
    """
    Return the estimate after `items` in `seconds` more, from the rate before and how many items are left.

    It is for a count of which only the rate is kept: one average, with a constant of WINDOW times the time left.
    """
    constant = TIME_CONSTANTS[WITHOUT_TOTAL] if left is None else WINDOW * left / rate
    constant = min(max(constant, TIME_CONSTANTS[0]), TIME_CONSTANTS[-1])
    weight = constant * exp(-seconds / constant)
    new = _significant((rate * weight + items) / (weight + seconds))
    return Estimate(new or None, None if left is None or not new else _significant(left / new))


def _significant(value: float) -> float | None:
    """Cut to four digits, more than an estimate is worth; None for a value beyond LIMIT."""
    return float(f"{value:.4g}") if value < LIMIT else None
