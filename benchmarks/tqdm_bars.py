"""
The cost of a bar of progresskit.tqdm, and of captured ones, compared with bars of tqdm in the same run.

A round draws bars of tqdm, of progresskit.tqdm inside a job, and captured ones one right after the other, over items
and by hand, into a file and into what calls itself a terminal. The result is the median over the rounds of the overhead
above the bare loop divided by that of tqdm; for bars outside of a job, of the whole time while a block captures.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm as peer

from progresskit import Kit, capture
from progresskit.tqdm import tqdm as ours

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = [None] * 1_000_000
ROUNDS = 15
LIMIT, OUTSIDE_LIMIT = 1.1, 1.02


class Terminal(io.StringIO):
    """A text that calls itself a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def bare() -> float:
    start = time.perf_counter()
    for _ in ITEMS:
        pass
    return time.perf_counter() - start


def iterating(bars: Any, file: Callable[[], io.StringIO]) -> float:
    bar = bars(ITEMS, file=file())
    start = time.perf_counter()
    for _ in bar:
        pass
    return time.perf_counter() - start


def updating(bars: Any, file: Callable[[], io.StringIO]) -> float:
    with bars(total=len(ITEMS), file=file()) as bar:
        start = time.perf_counter()
        for _ in ITEMS:
            bar.update(1)
        return time.perf_counter() - start


def in_job(kit: Kit, act: Callable[[], float]) -> float:
    with kit.observe():
        return act()


def captured(kit: Kit, act: Callable[[], float]) -> float:
    with kit.observe(), capture():
        return act()


def outside(act: Callable[[], float]) -> float:
    with capture():  # its patches are there, and there is no job
        return act()


def compare(kit: Kit, act: Callable[[Any, Callable[[], io.StringIO]], float], file: Callable[[], io.StringIO]) -> bool:
    ratios: dict[str, list[float]] = {"progresskit.tqdm": [], "captured": []}
    alone: dict[str, list[float]] = {"progresskit.tqdm outside": [], "tqdm outside": []}
    for _ in range(ROUNDS):
        loop, theirs = bare(), act(peer, file)
        ratios["progresskit.tqdm"].append((in_job(kit, lambda: act(ours, file)) - loop) / (theirs - loop))
        ratios["captured"].append((captured(kit, lambda: act(peer, file)) - loop) / (theirs - loop))
        theirs = act(peer, file)
        alone["progresskit.tqdm outside"].append(act(ours, file) / theirs)
        theirs = act(peer, file)
        alone["tqdm outside"].append(outside(lambda: act(peer, file)) / theirs)
    met = []
    for limit, figures in ((LIMIT, ratios), (OUTSIDE_LIMIT, alone)):
        for name, each in figures.items():
            ratio = statistics.median(each)
            met.append(ratio <= limit)
            print(f"{act.__name__:9} {file.__name__:8} {name:24} {ratio:.3f} of tqdm's, at most {limit}")
    return all(met)


def main() -> int:
    kit = Kit("memory://")
    met = [compare(kit, act, file) for act in (iterating, updating) for file in (io.StringIO, Terminal)]
    kit.close()
    print("met" if all(met) else "MISSED")
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
