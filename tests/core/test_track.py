"""Loops that are counted at C speed: exact at each item and at the end, however they end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progresskit import Cancelled, Kit, Progress, State
from progresskit.loops import _BLOCK
from progresskit.progress import Write
from progresskit.snapshots import SnapshotBuilder

from .doubles import FlakyBackend

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]

SIZES = [0, 1, 2, 7, _BLOCK - 1, _BLOCK, _BLOCK + 1, 3 * _BLOCK]


@pytest.mark.parametrize("cancellable", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_all_items_come_through_and_the_end_is_exact(
    kit: Kit, step: Step, stored: Stored, size: int, cancellable: bool
) -> None:
    items = list(range(size))
    assert list(kit.track(items, id="job", cancellable=cancellable)) == items
    step()
    progress = stored("job")
    assert (progress.state, progress.current, progress.total, progress.percent) == (State.SUCCEEDED, size, size, 100)


@pytest.mark.parametrize("cancellable", [False, True])
def test_the_item_in_hand_is_not_yet_done(kit: Kit, step: Step, stored: Stored, cancellable: bool) -> None:
    for number, _ in enumerate(kit.track(range(25), id="job", cancellable=cancellable)):
        step(1)
        assert stored("job").current == number
        assert stored("job").state is State.RUNNING
    step()
    assert stored("job").current == 25


@pytest.mark.parametrize("cancellable", [False, True])
def test_the_job_around_a_loop_is_exact_at_each_item(kit: Kit, cancellable: bool) -> None:
    with kit.observe("job", cancellable=cancellable) as job:
        for number, _ in enumerate(kit.track(range(2 * _BLOCK + 10))):
            assert job.progress.current == number
        assert job.progress.current == 2 * _BLOCK + 10
        assert not job.progress.done, "whoever opened it ends it"
    assert job.progress.state is State.SUCCEEDED


def test_what_has_no_length_has_no_total_unless_it_is_given(kit: Kit, step: Step, stored: Stored) -> None:
    assert sum(kit.track((n for n in range(10)), id="unknown")) == 45
    assert sum(kit.track((n for n in range(10)), id="given", total=20)) == 45
    step()
    assert (stored("unknown").total, stored("unknown").current, stored("unknown").percent) == (None, 10, 100)
    assert (stored("given").total, stored("given").current) == (20, 10)


@pytest.mark.parametrize("items", [[], [1, 2], (1, 2), {1, 2}, {1: 2}, "text", range(3), b"bytes", {1: 2}.items()])
def test_anything_that_can_be_looped_over_will_do(kit: Kit, step: Step, stored: Stored, items: Any) -> None:
    assert list(kit.track(items, id="job")) == list(items)
    step()
    assert (stored("job").current, stored("job").total) == (len(items), len(items))


def test_what_cannot_be_looped_over_is_refused_before_a_job_is_opened(
    kit: Kit, step: Step, backend: FlakyBackend
) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        kit.track(5, id="job")  # type: ignore[call-overload]
    step()
    assert backend.written == []


def test_a_loop_says_what_it_is_about(kit: Kit, step: Step, stored: Stored) -> None:
    for _ in kit.track([1], id="job", description="Reading", unit="rows", kind="import", meta={"a": 1}):
        step()
    progress = stored("job")
    assert (progress.description, progress.unit, progress.kind) == ("Reading", "rows", "import")
    assert progress.meta == {"a": 1}


@pytest.mark.parametrize("cancellable", [False, True])
def test_a_loop_that_is_left_early_is_cancelled_with_what_was_done(
    kit: Kit, step: Step, stored: Stored, cancellable: bool
) -> None:
    for number in kit.track(range(100), id="job", cancellable=cancellable):
        if number == 7:
            break
    gc.collect()
    step()
    assert (stored("job").state, stored("job").current, stored("job").total) == (State.CANCELLED, 7, 100)


def test_an_error_in_the_loop_goes_on_and_the_job_is_over(kit: Kit, step: Step, stored: Stored) -> None:
    def work() -> None:
        for number in kit.track(range(10), id="job"):
            if number == 3:
                raise ValueError("row 3")

    with pytest.raises(ValueError, match="row 3") as raised:
        work()
    del raised  # it holds the loop's frame
    gc.collect()
    step()
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 3)


def test_where_the_real_outcome_matters_the_job_around_the_loop_has_it(kit: Kit, step: Step, stored: Stored) -> None:
    with pytest.raises(ValueError, match="row 3"), kit.observe("job"):
        for number in kit.track(range(10)):
            if number == 3:
                raise ValueError("row 3")
    step()
    assert (stored("job").state, stored("job").current, stored("job").total) == (State.FAILED, 3, 10)


def test_an_error_of_the_items_themselves_comes_through(kit: Kit, step: Step, stored: Stored) -> None:
    def rows() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk")

    taken: list[int] = []
    with pytest.raises(OSError, match="disk") as raised:
        taken.extend(kit.track(rows(), id="job"))
    del raised
    gc.collect()
    step()
    assert stored("job").state is State.CANCELLED


def test_a_loop_that_was_never_begun_is_cancelled_when_it_is_dropped(kit: Kit, step: Step, stored: Stored) -> None:
    loop = kit.track([1, 2, 3], id="job")
    step()
    assert stored("job").state is State.RUNNING
    del loop
    gc.collect()
    step()
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 0)


def test_items_are_let_go_of(kit: Kit) -> None:
    class Row:
        pass

    def rows() -> Iterator[Row]:
        for _ in range(5):
            yield Row()

    before = None
    for row in kit.track(rows(), id="job"):
        assert before is None or before() is None
        before = weakref.ref(row)
        del row


def test_items_are_taken_one_at_a_time(kit: Kit) -> None:
    taken = count()
    endless = (next(taken) for _ in count())
    for cancellable in (False, True):
        loop = kit.track(endless, cancellable=cancellable)
        first = next(loop)
        assert [*islice(loop, 3)] == [first + 1, first + 2, first + 3]
        assert next(taken) == first + 4


def test_loops_one_after_the_other_each_begin_at_0_with_their_own_total(kit: Kit) -> None:
    with kit.observe("job") as job:
        for size in (10, 5):
            for number, _ in enumerate(kit.track(range(size))):
                assert (job.progress.current, job.progress.total) == (number, size)


def test_loops_share_a_total_that_was_given_to_the_job(kit: Kit) -> None:
    with kit.observe("job", total=15) as job:
        for size in (10, 5):
            for _ in kit.track(range(size)):
                assert job.progress.total == 15
        assert job.progress.current == 15


def test_of_loops_within_each_other_the_outer_one_counts(kit: Kit) -> None:
    with kit.observe("job") as job:
        for number, _ in enumerate(kit.track(range(4))):
            assert list(kit.track([1, 2, 3])) == [1, 2, 3]
            assert (job.progress.current, job.progress.total) == (number, 4)


def test_another_id_in_a_job_makes_the_loop_a_child(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job") as job:
        for number, _ in enumerate(kit.track(range(3), id="child")):
            step(1)
            assert (stored("child").current, stored("child").parent) == (number, "job")
            assert job.progress.current == 0
    step()
    assert stored("child").state is State.SUCCEEDED


def test_advance_within_a_loop_counts_on_top_of_it(kit: Kit) -> None:
    with kit.observe("job", total=100) as job:
        for _ in kit.track(range(5)):
            job.advance(10)
        assert job.progress.current == 55


def test_set_progress_within_a_loop_takes_the_count_over(kit: Kit) -> None:
    with kit.observe("job", total=100) as job:
        for number in kit.track(range(5)):
            job.set_progress(number * 20)
            assert job.progress.current == number * 20
        assert job.progress.current == 80


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 30), st.integers(0, 40), st.booleans(), st.booleans())
def test_wherever_a_loop_is_left_the_count_is_what_was_done(
    kit: Kit, size: int, leave: int, sized: bool, cancellable: bool
) -> None:
    done = 0
    with kit.observe(cancellable=cancellable) as job:
        for _ in kit.track(list(range(size)) if sized else iter(range(size))):
            if done == leave:
                break
            done += 1
        assert job.progress.current == done == min(size, leave)
        assert job.progress.total == (size if sized else None)


# Cancelling.


def test_a_cancellable_loop_is_stopped_at_its_next_item(kit: Kit, step: Step, stored: Stored) -> None:
    taken = 0
    with pytest.raises(Cancelled) as raised:
        for number in kit.track(range(10 * _BLOCK), id="job", cancellable=True):
            taken = number + 1
            if number == 50:
                step()
                assert kit.cancel("job")
                step(1)
    assert taken == 51
    del raised
    gc.collect()
    step()
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 51)


def test_a_loop_in_a_cancellable_job_is_stopped_and_the_job_is_cancelled(kit: Kit, step: Step) -> None:
    with pytest.raises(Cancelled), kit.observe("job", cancellable=True) as job:
        for number in kit.track(count()):
            if number == _BLOCK + 3:
                step()
                kit.cancel("job")
                step(1)
    assert (job.progress.state, job.progress.current) == (State.CANCELLED, _BLOCK + 4)


def test_a_loop_that_begins_after_the_request_takes_no_item(kit: Kit, step: Step) -> None:
    with pytest.raises(Cancelled), kit.observe("job", cancellable=True):
        step()
        kit.cancel("job")
        step(1)
        for _ in kit.track(range(10)):
            pytest.fail("an item was taken")


def test_a_loop_of_a_job_that_is_not_cancellable_goes_on(kit: Kit, step: Step) -> None:
    with kit.observe("job") as job:
        for number in kit.track(range(20)):
            if number == 5:
                step()
                kit.cancel("job")
                step(1)
        assert job.cancel_requested
        assert job.progress.current == 20


# asyncio.


async def rows(size: int) -> AsyncIterator[int]:
    for number in range(size):
        await asyncio.sleep(0)
        yield number


async def test_an_async_loop_is_exact_too(kit: Kit, step: Step, stored: Stored) -> None:
    number = 0
    async for row in kit.track(rows(20), id="job", total=20):
        assert row == number
        step(1)
        assert stored("job").current == number
        number += 1
    step()
    assert (stored("job").state, stored("job").current) == (State.SUCCEEDED, 20)


async def test_an_async_loop_that_is_left_early_is_cancelled(kit: Kit, step: Step, stored: Stored) -> None:
    loop = kit.track(rows(20), id="job")
    async for row in loop:
        if row == 4:
            break
    await loop.aclose()  # type: ignore[attr-defined]
    del loop
    gc.collect()
    step()
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 4)


async def test_an_async_loop_in_a_job_joins_it(kit: Kit) -> None:
    async with kit.observe("job") as job:
        number = 0
        async for _ in kit.track(rows(5)):
            assert job.progress.current == number
            number += 1
        assert (job.progress.current, job.progress.done) == (5, False)


async def test_a_cancellable_async_loop_is_stopped(kit: Kit, step: Step) -> None:
    taken = 0
    with pytest.raises(Cancelled):
        async with kit.observe("job", cancellable=True) as job:
            async for row in kit.track(rows(1_000)):
                taken += 1
                if row == 5:
                    step()
                    kit.cancel("job")
                    step(1)
    assert (taken, job.progress.state, job.progress.current) == (6, State.CANCELLED, 6)


class Both:
    """Can be iterated in both ways, as a QuerySet of Django's."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number


def test_what_can_be_iterated_in_both_ways_is_counted_in_both(kit: Kit, step: Step, stored: Stored) -> None:
    async def collect() -> list[int]:
        return [number async for number in kit.track(both, id="async")]

    both: Any = Both()
    assert list(kit.track(both, id="sync")) == [0, 1, 2]
    assert asyncio.run(collect()) == [0, 1, 2]
    step()
    for id in ("sync", "async"):
        progress = stored(id)
        assert (progress.state, progress.current, progress.total) == (State.SUCCEEDED, 3, 3)


class Lengthless(list[int]):
    def __len__(self) -> int:
        raise TypeError("no length after all")


@pytest.mark.parametrize("items", [Lengthless([0]), range(10**30), range(2**60)])
def test_a_length_that_cannot_be_known_is_a_total_that_is_not_known(
    kit: Kit, step: Step, stored: Stored, items: Any
) -> None:
    loop = iter(kit.track(items, id="job"))
    assert next(loop) == 0
    step()
    assert (stored("job").total, stored("job").state) == (None, State.RUNNING)


def test_a_collection_in_the_middle_of_a_sample_loses_no_end(
    kit: Kit, step: Step, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = iter(kit.track(range(1000), id="job"))
    next(loop)
    step()
    next(loop)
    record = SnapshotBuilder.record

    def collecting(*arguments: Any) -> Write:
        gc.collect()  # as may happen at any allocation
        return record(*arguments)

    monkeypatch.setattr(SnapshotBuilder, "record", collecting)
    cycle: list[Any] = [loop]
    cycle.append(cycle)
    del loop, cycle
    step(1)
    step(1)
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 1)


def test_another_loop_may_follow_one_that_was_left(kit: Kit) -> None:
    with kit.observe("job") as job:
        for number in kit.track(range(10)):
            if number == 4:
                break
        list(kit.track(range(7)))
        assert (job.progress.current, job.progress.total) == (7, 7)


def test_an_id_that_is_given_without_its_name_is_refused_with_the_remedy(kit: Kit) -> None:
    track: Any = kit.track
    with pytest.raises(TypeError, match=r"track\(items, id='import-42'\)"):
        track([1, 2], "import-42")
    assert kit.get("import-42") is None
