"""When records were made, by the clock of the terminal."""

from __future__ import annotations

import pytest

from progresskit.progress import Progress, State, Version, moment
from progresskit.terminal.arrivals import Arrivals
from progresskit.terminal.bars import Seen
from progresskit.testing import FakeClock

START = 1_900_000_000


def record(seq: int, at: float) -> Progress:
    return Progress("job", State.RUNNING, Version(1, 1, seq), updated_at=moment(START + at))


@pytest.fixture
def wall() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def arrivals(wall: FakeClock) -> Arrivals:
    return Arrivals(lambda: wall() - START, wall)


def test_a_record_that_is_read_late_is_as_old_as_it_says(arrivals: Arrivals, wall: FakeClock) -> None:
    wall.advance(60)
    assert arrivals.see(Seen("job"), record(1, 20)).at == 20


def test_a_clock_that_is_ahead_is_noticed_with_the_next_record(arrivals: Arrivals, wall: FakeClock) -> None:
    wall.advance(3_600)
    seen = arrivals.see(Seen("job"), record(1, 0))
    assert seen.at == 0, "it cannot be known yet"
    wall.advance(2)
    seen = arrivals.see(seen, record(2, 2))
    assert seen.at == 3_602
    wall.advance(5)
    assert arrivals.see(seen, record(3, 4)).at == 3_604


def test_a_clock_that_is_behind_is_noticed_at_once(arrivals: Arrivals) -> None:
    assert arrivals.see(Seen("job"), record(1, 500)).at == 0


def test_the_same_record_with_another_state_says_nothing_of_the_clock(arrivals: Arrivals, wall: FakeClock) -> None:
    wall.advance(40)
    seen = arrivals.see(Seen("job"), record(1, 0))
    assert arrivals.see(seen, record(1, 0)._replace(cancel_requested=True)).at == 0


def test_a_job_without_a_record_is_dated_now(arrivals: Arrivals, wall: FakeClock) -> None:
    wall.advance(7)
    assert arrivals.see(Seen("job"), None) == Seen("job", None, 7)
