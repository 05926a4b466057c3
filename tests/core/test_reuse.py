"""Ids that are used again while lines to the reference backend fail."""

from __future__ import annotations

from progresskit.memory import MemoryBackend
from progresskit.testing import FakeClock
from progresskit.testing.reuse import check


def test_whatever_fails_the_run_that_began_last_is_shown() -> None:
    def make() -> tuple[MemoryBackend, FakeClock]:
        clock = FakeClock()
        return MemoryBackend(clock=clock), clock

    check(make, 400)
