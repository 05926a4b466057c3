"""When records were made, by the clock of the terminal, and their texts."""

from __future__ import annotations

from typing import Any

import pytest

from progresskit.progress import Progress, State, Version, moment
from progresskit.terminal import records
from progresskit.terminal.records import Arrivals, Seen
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


def running(**fields: Any) -> Progress:
    return Progress("job", State.RUNNING, Version(1, 1, 1))._replace(**fields)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.4, "0s"), (17, "17s"), (59.6, "1m"), (200, "3m 20s"), (3600, "1h"), (3605, "1h"), (7500, "2h 5m"),
     (90_061, "1d 1h"), (-3, "0s")],
)  # fmt: skip
def test_a_duration_is_reported_by_its_two_largest_units(seconds: float, shown: str) -> None:
    assert records.duration(seconds) == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"current": 5208, "total": 12400, "unit": "rows"}, "5,208/12,400 rows"),
        ({"current": 12400, "total": 12400, "unit": "rows"}, "12,400 rows"),
        ({"current": 18230, "unit": "files"}, "18,230 files"),
        ({"current": 0}, ""),
        ({"current": 0, "total": 3}, "0/3"),
        ({"current": 1.25, "total": 2.5}, "1.2/2.5"),
        ({"current": 1536, "total": 5 * 2**20, "unit": "B"}, "1.5 KiB/5.0 MiB"),
    ],
)
def test_a_count_is_reported_with_its_total_and_unit(fields: dict[str, Any], shown: str) -> None:
    assert records.count(running(**fields)) == shown


def test_a_rate_has_its_unit_without_what_a_terminal_would_obey() -> None:
    assert records.measures(running(rate=412.4, unit="ro\x1b[2Jws"), 0) == ["412 ro[2Jws/s"]


def test_text_of_a_job_cannot_steer_the_terminal() -> None:
    assert records.harmless("a\x1b[2Jb\r\nc\u202ed\x9be\x07") == "a[2Jb cde"
