"""Search for two neighbouring primes that are far apart, at an unknown place."""

from __future__ import annotations

from itertools import count
from math import isqrt
from typing import Any

import progresskit

GAP = 150
"""Wide enough for some seconds of work: it is met for the first time beyond four million."""


def find_gap(gap: int = GAP) -> dict[str, Any]:
    """Return the first neighbouring primes that are `gap` or more apart."""
    primes = [3]
    with progresskit.observe(unit="numbers", description="Looking at one number after the other") as observer:
        for number in count(5, 2):
            observer.advance(2)
            if _is_prime(number, primes):
                if number - primes[-1] >= gap:
                    break
                primes.append(number)
    return {"from": primes[-1], "to": number, "gap": number - primes[-1]}


def _is_prime(number: int, primes: list[int]) -> bool:
    """Return whether an odd number is prime, given the odd primes up to its root."""
    root = isqrt(number)
    for prime in primes:
        if prime > root:
            return True
        if number % prime == 0:
            return False
    return True
