"""
Simulated jobs of nine families, for measuring estimators of the time left.

A job depends only on its family and its seed, so that a run can be repeated. The constants of an estimator are tuned on
the seeds of `TUNING`, and results are measured on those of `HELD_OUT`. Do not change a profile or a seed
together with the estimator.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import accumulate
from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TUNING = range(1_000, 1_024)
HELD_OUT = range(7_000, 7_040)

SHORTEST, LONGEST = 10.0, 1_200.0
"""Seconds that a job takes."""

CELLS = 1_000
"""A rate is constant for this part of the time."""


class Job(NamedTuple):
    """When each of the items is done, in seconds and rising; the last one ends the job."""

    family: str
    seed: int
    ends: Sequence[float]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.ends[-1]

    @property
    def total(self) -> int:
        """How many items it has."""
        return len(self.ends)

    def done(self, time: float) -> int:
        """Return how many items are done at this time."""
        return bisect_right(self.ends, time)


def make(family: str, seed: int) -> Job:
    """Return the job of this family and seed."""
    chance = random.Random(f"{family} {seed}")
    seconds = exp(chance.uniform(log(SHORTEST), log(LONGEST)))
    ends = FAMILIES[family](chance)
    return Job(family, seed, [end * seconds / ends[-1] for end in ends])


def _steady(chance: random.Random) -> list[float]:
    return _items(chance, [1.0] * CELLS)


def _warm_up(chance: random.Random) -> list[float]:
    """Return a rate that rises to its height, as caches fill and connections open."""
    first, length = chance.uniform(0.05, 0.4), CELLS * chance.uniform(0.05, 0.3)
    return _items(chance, [1 - (1 - first) * exp(-cell / length) for cell in range(CELLS)])


def _slow_start(chance: random.Random) -> list[float]:
    """Return a job that is prepared first, with few items done meanwhile, or none."""
    preparation, first = round(CELLS * chance.uniform(0.03, 0.25)), chance.choice((0.0, chance.uniform(0.1, 0.3)))
    return _items(chance, [first] * preparation + [1.0] * (CELLS - preparation))


def _steps(chance: random.Random) -> list[float]:
    """Return two to five stretches, each at its own rate."""
    rates: list[float] = []
    for share in _shares(chance, chance.randint(2, 5)):
        rates += [exp(chance.uniform(log(0.25), log(4)))] * max(round(share * CELLS), 1)
    return _items(chance, rates)


def _drift(chance: random.Random) -> list[float]:
    """Return a rate that rises or falls all the time, to a fifth or five times of its beginning at most."""
    change = chance.uniform(log(0.2), log(5))
    return _items(chance, [exp(change * cell / CELLS) for cell in range(CELLS)])


def _bursts(chance: random.Random) -> list[float]:
    """Return a job that works and waits in turns, as one that fetches pages of items does."""
    period, busy = CELLS * chance.uniform(0.01, 0.12), chance.uniform(0.15, 0.6)
    rates: list[float] = []
    while len(rates) < CELLS:
        length = period * chance.uniform(0.6, 1.4)
        rates += [1.0] * max(round(length * busy), 1) + [0.0] * round(length * (1 - busy))
    return _items(chance, rates)


def _stalls(chance: random.Random) -> list[float]:
    """Return a steady job that stands still one to three times."""
    rates = [1.0] * CELLS
    for _ in range(chance.randint(1, 3)):
        begin = chance.randrange(len(rates))
        rates[begin:begin] = [0.0] * round(CELLS * chance.uniform(0.05, 0.3))
    return _items(chance, rates)


def _heavy_tails(chance: random.Random) -> list[float]:
    """Return items of which few take most of the time."""
    number, tail = round(exp(chance.uniform(log(100), log(2_000)))), chance.uniform(1.1, 1.8)
    return list(accumulate(chance.paretovariate(tail) for _ in range(number)))


def _long_items(chance: random.Random) -> list[float]:
    """Return few items, the time of each by the log-normal distribution."""
    spread = chance.uniform(0.1, 0.9)
    return list(accumulate(chance.lognormvariate(0, spread) for _ in range(chance.randint(6, 40))))


FAMILIES: dict[str, Callable[[random.Random], list[float]]] = {
    "steady": _steady,
    "warm-up": _warm_up,
    "slow start": _slow_start,
    "steps": _steps,
    "drift": _drift,
    "bursts": _bursts,
    "stalls": _stalls,
    "heavy tails": _heavy_tails,
    "long items": _long_items,
}


def _shares(chance: random.Random, number: int) -> list[float]:
    parts = [chance.uniform(0.3, 1) for _ in range(number)]
    return [part / sum(parts) for part in parts]


def _items(chance: random.Random, rates: Sequence[float]) -> list[float]:
    """Return when each item is done at these rates, which waver by a noise that has some memory."""
    spread, memory, wander = chance.uniform(0.05, 0.5), 0.9, 0.0
    done = [0.0]
    for rate in rates:
        wander = memory * wander + chance.gauss(0, spread * (1 - memory**2) ** 0.5)
        done.append(done[-1] + rate * exp(wander))
    number = round(exp(chance.uniform(log(50), log(20_000))))
    ends, cell = [], 0
    for item in range(1, number + 1):
        wanted = done[-1] * item / number
        while done[cell + 1] < wanted and cell + 1 < len(rates):
            cell += 1
        step = done[cell + 1] - done[cell]
        ends.append(cell + (min((wanted - done[cell]) / step, 1.0) if step else 1.0))
    return ends
