"""The rate of a job and the time it has left; no test here waits for anything."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import isclose, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.estimate import LIMIT, SETTLING, TIME_CONSTANT, RateEstimator
from progresskit.testing import FakeClock


class Job:
    """A count, its estimator and the clock they share."""

    def __init__(self, count: float = 0) -> None:
        self.clock, self.count = FakeClock(), count
        self.estimator = RateEstimator(count, self.clock())

    def work(self, items: float, seconds: float) -> None:
        self.clock.advance(seconds)
        self.count += items
        self.estimator.sample(self.count, self.clock())

    @property
    def rate(self) -> float | None:
        return self.estimator.rate


def test_nothing_is_told_before_there_is_something_to_go_by() -> None:
    job = Job()
    assert (job.rate, job.estimator.eta(100)) == (None, None)
    job.work(5, SETTLING / 2)
    assert (job.rate, job.estimator.eta(100)) == (None, None)
    job.work(5, SETTLING)
    assert job.rate is not None
    assert job.estimator.eta(100) is not None


@pytest.mark.parametrize("rate", [0.001, 0.5, 3, 250, 1e6])
def test_a_constant_rate_is_told_exactly_from_first_to_last(rate: float) -> None:
    job = Job(count=17)
    for _ in range(300):
        job.work(rate * 0.5, 0.5)
        assert job.rate is not None
        assert isclose(job.rate, rate, rel_tol=1e-3)
    assert job.rate == rate


def test_the_spacing_of_samples_does_not_matter_to_a_constant_rate() -> None:
    job = Job()
    for seconds in [0.1, 3, 0.01, 7, 0.5, 60, 0.1, 0.001, 2.5] * 3:
        job.work(4 * seconds, seconds)
    assert job.rate == 4


def test_samples_in_one_instant_are_one_sample() -> None:
    job = Job()
    job.work(10, 1)
    for _ in range(5):
        job.work(2, 0)
    job.work(0, 1)
    assert job.rate is not None
    assert isclose(job.rate, 10, rel_tol=0.06), "20 items in 2 seconds"


def test_a_new_pace_is_told_after_some_time_constants() -> None:
    job = Job()
    for _ in range(100):
        job.work(10, 1)
    job.work(100 * TIME_CONSTANT, TIME_CONSTANT)
    after_one = job.rate
    for _ in range(5):
        job.work(100 * TIME_CONSTANT, TIME_CONSTANT)
    assert after_one is not None
    assert 10 < after_one < 95 < (job.rate or 0) <= 100


def test_a_pause_lets_the_rate_sink_and_the_time_left_rise() -> None:
    job = Job()
    for _ in range(20):
        job.work(10, 1)
    told = []
    for _ in range(10):
        job.work(0, 5)
        told.append((job.rate or 0, job.estimator.eta(1_000) or 0))
    assert all(rate > later for (rate, _), (later, _) in pairwise(told))
    assert all(eta < later for (_, eta), (_, later) in pairwise(told))


def test_a_count_that_goes_back_starts_the_estimate_anew() -> None:
    job = Job()
    for _ in range(20):
        job.work(1_000, 1)
    job.work(-15_000, 1)
    assert job.rate is None
    for _ in range(3):
        job.work(2, 1)
        assert job.rate == 2


def test_the_time_left_is_the_rest_at_the_present_rate() -> None:
    job = Job()
    for _ in range(10):
        job.work(4, 1)
    assert job.estimator.eta(100) == 15
    assert job.estimator.eta(40) == 0
    assert job.estimator.eta(30) == 0, "past its total"
    assert job.estimator.eta(None) is None


def test_a_job_that_does_not_move_has_no_rate_and_no_end() -> None:
    job = Job(count=5)
    for _ in range(10):
        job.work(0, 1)
    assert (job.rate, job.estimator.eta(100)) == (None, None)


counts = st.one_of(st.integers(0, 2**53), st.floats(0, 2**53))
gaps = st.one_of(st.floats(0, 1e-6), st.floats(0, 100), st.floats(0, 1e9), st.just(0.0))


@given(counts, st.lists(st.tuples(counts, gaps), max_size=20), st.none() | counts)
def test_whatever_is_sampled_both_are_none_or_finite_and_not_negative(
    first: float, samples: list[tuple[float, float]], total: float | None
) -> None:
    estimator = RateEstimator(first, 0.0)
    for (count, _), time in zip(samples, accumulate(gap for _, gap in samples), strict=True):
        estimator.sample(count, time)
        for told in (estimator.rate, estimator.eta(total)):
            assert told is None or (isfinite(told) and 0 <= told <= LIMIT)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 100)), min_size=1, max_size=20))
def test_the_rate_lies_between_the_slowest_and_the_fastest_stretch(stretches: list[tuple[float, float]]) -> None:
    job = Job()
    for items, seconds in stretches:
        job.work(items, seconds)
    paces = [items / seconds for items, seconds in stretches]
    if job.rate is not None:
        assert min(paces) * 0.999 <= job.rate <= max(paces) * 1.001 + 1e-6
