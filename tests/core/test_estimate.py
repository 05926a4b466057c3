"""The rate of a job and its time left; no test here waits for anything."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import isclose, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.estimate import LIMIT, SETTLING, Estimate, RateEstimator
from progresskit.testing import FakeClock

NOTHING = Estimate(None, None)


class Job:
    """A count, its estimator and the clock they share."""

    def __init__(self, count: float = 0, total: float | None = None) -> None:
        self.clock, self.count, self.total = FakeClock(), count, total
        self.estimator = RateEstimator(count, self.clock())

    def work(self, items: float, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(seconds)
            self.count += items
            self.estimator.sample(self.count, self.clock())

    @property
    def estimate(self) -> Estimate:
        return self.estimator.estimate(self.total)

    @property
    def rate(self) -> float:
        assert self.estimate.rate is not None
        return self.estimate.rate

    @property
    def eta(self) -> float:
        assert self.estimate.eta is not None
        return self.estimate.eta


# When there is an estimate.


def test_there_is_no_estimate_before_the_count_has_changed_twice() -> None:
    job = Job(total=100)
    assert job.estimate == NOTHING
    job.work(0, 30, times=3)
    assert job.estimate == NOTHING
    job.work(1, 30)
    assert job.estimate == NOTHING, "was that one item, or the preparation?"
    job.work(1, 30)
    assert job.estimate == pytest.approx((1 / 30, 98 * 30), rel=1e-3)


def test_there_is_no_estimate_before_the_count_has_changed_for_a_while() -> None:
    job = Job(total=100)
    job.work(1, SETTLING / 4, times=4)
    assert job.estimate == NOTHING
    job.work(1, SETTLING / 4)
    assert None not in job.estimate


def test_a_job_that_does_not_move_has_no_estimate() -> None:
    job = Job(count=5, total=100)
    job.work(0, 1, times=10)
    assert job.estimate == NOTHING


def test_without_a_total_there_is_a_rate_only() -> None:
    job = Job()
    job.work(4, 1, times=10)
    assert job.estimate == (4, None)


def test_past_its_total_there_is_no_time_left() -> None:
    job = Job(total=30)
    job.work(4, 1, times=10)
    assert job.estimate == (4, 0)


# What it is.


@pytest.mark.parametrize("total", [None, 10_000_000])
@pytest.mark.parametrize("rate", [0.001, 0.5, 3, 250, 1e6])
def test_a_constant_rate_is_exact_from_first_to_last(rate: float, total: float | None) -> None:
    job = Job(count=17, total=total)
    job.work(rate * 0.5, 0.5, times=2)
    for _ in range(300):
        job.work(rate * 0.5, 0.5)
        assert isclose(job.rate, rate, rel_tol=1e-3)


def test_the_spacing_of_samples_does_not_matter_to_a_constant_rate() -> None:
    job = Job()
    for seconds in [0.1, 3, 0.01, 7, 0.5, 60, 0.1, 0.001, 2.5] * 3:
        job.work(4 * seconds, seconds)
    assert job.rate == 4


def test_samples_at_the_same_time_are_one_sample() -> None:
    apart, together = Job(total=1_000), Job(total=1_000)
    for _ in range(10):
        apart.work(10, 1)
        together.work(4, 1)
        together.work(2, 0, times=3)
    assert apart.estimate == together.estimate == (10, 90)


@pytest.mark.parametrize("preparation", [0.5, 4, 600])
def test_the_time_before_the_first_item_does_not_count(preparation: float) -> None:
    job = Job(total=1_000)
    job.work(0, preparation / 2, times=2)
    job.work(20, 0.1, times=7)
    assert job.estimate == (200, 4.3)


def test_rate_and_time_left_agree() -> None:
    job = Job(total=10_000)
    for step in range(1, 200):
        job.work(step % 7, 0.1 * (1 + step % 3))
        if step > 10 and step % 7:
            assert isclose(job.rate * job.eta, 10_000 - job.count, rel_tol=2e-3)


def test_a_slow_start_is_forgotten_long_before_the_end() -> None:
    job = Job(total=1_000)
    job.work(1, 1, times=50)
    job.work(10, 1, times=75)
    assert job.estimate == pytest.approx((10, 20), rel=0.05)


def test_a_new_rate_is_followed_sooner_the_less_time_is_left() -> None:
    long, short = Job(total=100_000), Job(total=1_200)
    for job in (long, short):
        job.work(10, 1, times=100)
        job.work(5, 1, times=20)
    assert 5 < short.rate < 7 < long.rate < 10


def test_an_item_in_hand_counts_as_under_way() -> None:
    job = Job(total=10)
    job.work(1, 60, times=4)
    assert job.eta == pytest.approx(360, rel=1e-3)
    job.work(0, 15)
    assert job.eta == pytest.approx(345, rel=1e-3)
    job.work(0, 15)
    assert job.estimate == pytest.approx((1 / 60, 330), rel=1e-3)


def test_a_pause_lowers_the_rate_and_raises_the_time_left() -> None:
    job = Job(total=1_000)
    job.work(10, 1, times=20)
    job.work(0, 5)
    estimates = []
    for _ in range(10):
        job.work(0, 5)
        estimates.append((job.rate, job.eta))
    assert all(rate > later for (rate, _), (later, _) in pairwise(estimates))
    assert all(eta < later for (_, eta), (_, later) in pairwise(estimates))


def test_a_count_that_goes_back_starts_over() -> None:
    job = Job(total=20_000)
    job.work(1_000, 1, times=20)
    job.work(-15_000, 1)
    assert job.estimate == NOTHING
    job.work(2, 1, times=2)
    assert job.rate == 2


def test_a_total_that_changes_counts_from_now_on() -> None:
    job = Job(total=100)
    job.work(4, 1, times=10)
    assert job.eta == 15
    job.total = 200
    assert job.estimate == (4, 40)
    job.total = None
    assert job.estimate == (4, None)


def test_a_clock_that_goes_back_is_one_that_stands_still() -> None:
    estimator = RateEstimator(0, 100)
    for count, time in [(10, 101), (20, 102), (25, 40), (30, 103)]:
        estimator.sample(count, time)
    assert estimator.estimate(130) == pytest.approx((10, 10), rel=0.1)


# Whatever is sampled.

counts = st.one_of(st.integers(0, 2**53), st.floats(0, 2**53))
gaps = st.one_of(st.floats(0, 1e-6), st.floats(0, 100), st.floats(0, 1e9), st.floats(-100, 0), st.just(0.0))


@given(counts, st.lists(st.tuples(counts, gaps), max_size=20), st.none() | counts)
def test_both_are_none_or_finite_and_not_negative(
    first: float, samples: list[tuple[float, float]], total: float | None
) -> None:
    estimator = RateEstimator(first, 0.0)
    for (count, _), time in zip(samples, accumulate(gap for _, gap in samples), strict=True):
        estimator.sample(count, time)
        for value in estimator.estimate(total):
            assert value is None or (isfinite(value) and 0 <= value <= LIMIT)


@given(st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(0.01, 100)), min_size=1, max_size=20), st.none() | counts)
def test_the_rate_lies_between_the_slowest_and_the_fastest_stretch(
    stretches: list[tuple[float, float]], total: float | None
) -> None:
    job = Job(total=total)
    job.work(1, 1)
    for items, seconds in stretches:
        job.work(items, seconds)
    if job.estimate.rate is not None:
        rates = [items / seconds for items, seconds in stretches]
        assert min(rates) * 0.999 <= job.rate <= max(rates) * 1.001


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0.01, 100)), min_size=3, max_size=30))
def test_the_time_left_has_no_jump_where_another_average_is_used(stretches: list[tuple[int, float]]) -> None:
    job = Job()
    for items, seconds in stretches:
        job.work(items, seconds)
    for step in range(100):
        remaining = 1.2**step
        estimate, later = (job.estimator.estimate(job.count + remaining * more).eta for more in (1, 1 + 1e-6))
        if estimate and later and estimate < LIMIT:
            assert isclose(estimate, later, rel_tol=5e-3)
