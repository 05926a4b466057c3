"""The pauses between tries of something that fails."""

from __future__ import annotations

from os import urandom

FIRST_SECONDS, LONGEST_SECONDS = 0.1, 2.0


class Backoff:
    """
    Pauses in seconds, each at most twice the one before, from `first` to `longest`.

    Half of each is random ("equal jitter"), so that processes that have lost the same server do not come back together.
    """

    __slots__ = ("_first", "_longest", "failures")

    def __init__(self, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._first, self._longest = first, longest
        self.failures = 0
        """How many tries have failed in a row."""

    def next(self) -> float:
        """Count a failure; return the pause after it."""
        pause = min(self._first * 2.0 ** min(self.failures, 16), self._longest)
        self.failures += 1
        return between(pause / 2, pause)

    def reset(self) -> None:
        """Begin with the shortest pause again: a try has succeeded."""
        self.failures = 0


def between(shortest: float, longest: float) -> float:
    """
    Return a random pause of that range, by the system's generator.

    A program that seeds the module `random` gets its numbers back whatever this process reports meanwhile, and a forked
    child does not repeat the pauses of its parent.
    """
    return shortest + (longest - shortest) * int.from_bytes(urandom(4), "big") / 2**32
