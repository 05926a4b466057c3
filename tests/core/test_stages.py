"""Jobs made of steps, and loops inside of loops: one percent, which counts nothing twice."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progresskit import Cancelled, InvalidValue, Kit, Progress, ProgressObserver, State, StepObserver, StepState
from progresskit.integrations import Integration
from progresskit.job import Job
from progresskit.testing import FakeClock
from tests.services.forking import Child, needs_fork
from tests.services.waiting import wait_until

from .doubles import FlakyBackend

pytestmark = pytest.mark.usefixtures("lenient")

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]

TWO = {"Download": 1, "Parse": 3}


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop bad values, as production does: the count of them shows that a report was no bad value."""
    monkeypatch.setenv("PROGRESSKIT_STRICT", "0")


def states(job: ProgressObserver) -> list[str]:
    return [step.state.value for step in job.progress.steps or ()]


def number_and_names(job: ProgressObserver) -> tuple[int | None, list[str] | None]:
    progress = job.progress
    return progress.step, None if progress.steps is None else [step.name for step in progress.steps]


def enter(step: StepObserver) -> None:
    with step:
        pass


def count(job: ProgressObserver) -> tuple[float, float | None]:
    return job.progress.current, job.progress.total


# Declared steps.


def test_steps_fill_one_bar_by_their_weights(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("import-42", steps=TWO) as job:
        assert (job.progress.percent, job.progress.step, states(job)) == (0, None, ["pending", "pending"])
        with job.step("Download", total=200, unit="B") as download:
            download.advance(50)
            progress = job.progress
            assert (progress.current, progress.total, progress.unit) == (50, 200, "B")
            assert (progress.percent, progress.step, states(job)) == (6.25, 1, ["running", "pending"])
        assert (job.progress.percent, states(job)) == (25, ["succeeded", "pending"])
        with job.step("Parse"):
            for number, _ in enumerate(kit.track(range(10))):
                assert job.progress.percent == 25 + 75 * number / 10
                assert (count(job), job.progress.step, job.progress.unit) == ((number, 10), 2, None)
        assert job.progress.percent == 99.99
    step()
    progress = stored("import-42")
    assert (progress.state, progress.percent, progress.current, progress.total) == (State.SUCCEEDED, 100, 10, 10)
    assert [(each.name, each.weight, each.state, each.percent) for each in progress.steps or ()] == [
        ("Download", 1, StepState.SUCCEEDED, 100),
        ("Parse", 3, StepState.SUCCEEDED, 100),
    ]


def test_names_alone_weigh_the_same(kit: Kit) -> None:
    with kit.observe("job", steps=["a", "b", "c"]) as job:
        with job.step("b"):
            pass
        assert job.progress.percent == 33.33


def test_a_step_without_a_total_adds_nothing_until_it_has_succeeded(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with job.step("Download") as download:
            download.advance(5)
            assert (job.progress.percent, count(job)) == (0, (5, None))
            assert job.progress.steps is not None
            assert job.progress.steps[0].percent is None
        assert job.progress.percent == 25


def test_a_step_that_was_never_entered_is_skipped_when_the_job_succeeds(kit: Kit) -> None:
    good, bad = kit.observe("good", steps=TWO), kit.observe("bad", steps=TWO)
    for job in (good, bad):
        with job.step("Parse"):
            pass
    good.succeed()
    bad.fail("no")
    assert (states(good), good.progress.percent) == (["skipped", "succeeded"], 100)
    assert (states(bad), bad.progress.percent) == (["pending", "succeeded"], 75)


@pytest.mark.parametrize(("error", "state"), [
    (ValueError("no"), "failed"),
    (Cancelled("job"), "cancelled"),
    (asyncio.CancelledError(), "cancelled"),
    (KeyboardInterrupt(), "cancelled"),
])  # fmt: skip
def test_a_step_that_is_left_by_an_exception_ends_so_and_keeps_its_share(
    kit: Kit, error: BaseException, state: str
) -> None:
    with pytest.raises(type(error)), kit.observe("job", steps=TWO) as job, job.step("Parse", total=4) as parse:
        parse.advance(2)
        raise error
    assert (states(job), job.progress.state.value) == (["pending", state], state)
    assert (job.progress.percent, job.progress.step) == (37.5, 2)
    assert job.progress.steps is not None
    assert job.progress.steps[1].percent == 50


def test_a_step_that_failed_may_be_entered_again(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with pytest.raises(OSError, match="once"), job.step("Download", total=4) as first:
            first.advance(3)
            raise OSError("once")
        assert states(job) == ["failed", "pending"]
        with job.step("Download") as again:
            assert (states(job), count(job)) == (["running", "pending"], (3, 4))
            again.advance()
        assert (states(job), count(job)) == (["succeeded", "pending"], (4, 4))


def test_a_step_that_is_entered_again_continues_and_the_percent_does_not_fall(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with job.step("Download", total=10) as first:
            first.advance(4)
        for _ in range(2):
            with job.step("Download") as again:
                assert (job.progress.percent, states(job)) == (25, ["running", "pending"])
                again.advance(3)
        assert count(job) == (10, 10)
        with job.step("Download", total=20):
            assert job.progress.percent == 12.5, "its total was raised"


def test_a_handle_may_be_kept_and_entered_again(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        parse = job.step("Parse", total=10)
        assert states(job) == ["pending", "pending"]
        for _ in range(2):
            with parse:
                parse.advance(5)
        assert (count(job), parse.name) == ((10, 10), "Parse")


def test_a_report_goes_to_the_object_that_it_is_called_on(kit: Kit) -> None:
    with (
        kit.observe("job", steps=TWO) as job,
        job.step("Download", total=10) as outer,
        job.step("Parse", total=10) as inner,
    ):
        outer.advance(2)
        inner.advance(5)
        assert (job.progress.percent, job.progress.step, count(job)) == (5 + 37.5, 2, (5, 10))


# The surrounding step.


def test_current_track_observe_and_step_use_the_innermost_step(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with kit.step("Download", total=100) as download:
            assert isinstance(download, StepObserver)
            kit.current().advance(10)
            with kit.observe(total=50, unit="B", description="Fetching", meta={"a": 1}) as joined:
                joined.advance(10)
            progress = job.progress
            assert (progress.current, progress.total, progress.unit) == (20, 50, "B")
            assert (progress.description, progress.meta) == ("Fetching", {"a": 1})
        with kit.step("Parse"):
            assert (job.progress.unit, job.progress.description) == (None, "Fetching"), "the unit is the step's"
            assert list(kit.track([1, 2], description="Parsing", unit="rows")) == [1, 2]
        assert (count(job), job.progress.unit, job.progress.description) == ((2, 2), "rows", "Parsing")
        assert kit.current().id == "job"


def test_the_text_that_was_reported_last_is_shown_whatever_reported_it(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job, job.step("Download", total=5) as download:
        reports: list[Callable[[str], None]] = [
            lambda text: download.set_progress(1, 5, text),
            lambda text: job.update(description=text),
            lambda text: kit.current().set_progress(2, None, text),
            lambda text: download.update(description=text),
        ]
        for number in (0, 1, 0, 2, 1, 3, 0):
            reports[number](f"text {number}")
            assert job.progress.description == f"text {number}"


def test_a_child_inside_of_a_step_is_a_job_of_its_own(kit: Kit) -> None:
    with kit.observe("job", steps=TWO, owner="ada") as job, job.step("Parse", total=2) as parse:
        with kit.observe("child", total=4) as child:
            kit.current().advance()
            assert (child.progress.parent, child.owner, child.progress.percent) == ("job", "ada", 25)
        for _ in kit.track(range(3), id="loop"):
            pass
        assert (count(job), kit.current().id) == ((0, 2), "job")
        parse.advance()
        assert count(job) == (1, 2)


def test_threads_may_be_in_different_steps_at_once(kit: Kit) -> None:
    barrier = threading.Barrier(3)

    def work(name: str) -> None:
        with kit.step(name, total=1_000):
            barrier.wait(30)
            for _ in range(100):
                kit.current().advance()
            for _ in kit.track(range(150)):
                pass
            barrier.wait(30)
            barrier.wait(30)

    with kit.observe("job", steps=TWO) as job:
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work, name)) for name in TWO]
        for thread in threads:
            thread.start()
        barrier.wait(30)
        barrier.wait(30)
        assert (states(job), job.progress.percent, count(job)) == (["running", "running"], 25, (250, 1_000))
        barrier.wait(30)
        for thread in threads:
            thread.join()
        assert (states(job), job.progress.percent) == (["succeeded", "succeeded"], 99.99)


def test_threads_may_be_in_one_step_at_once(kit: Kit) -> None:
    barrier = threading.Barrier(5)

    def work(number: int) -> None:
        with kit.step("Parse", total=4_000) as parse:
            barrier.wait(30)
            for _ in range(1_000):
                parse.advance()
            barrier.wait(30)
            assert kit.current().id == "job"
            if not number:
                raise ValueError("of one thread")

    def run(number: int) -> None:
        try:
            work(number)
        except ValueError:
            pass

    with kit.observe("job", steps=TWO) as job:
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(run, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        barrier.wait(30)
        barrier.wait(30)
        for thread in threads:
            thread.join()
        assert (states(job), count(job)) == (["pending", "failed"], (4_000, 4_000))


async def test_asyncio_tasks_may_be_in_different_steps_at_once(kit: Kit) -> None:
    both = asyncio.Event()

    async def work(name: str, items: int) -> None:
        async with kit.step(name, total=10):
            for _ in range(items):
                kit.current().advance()
                await asyncio.sleep(0)
            if name == "Parse":
                both.set()
            await both.wait()

    async with kit.observe("job", steps=TWO) as job:
        await asyncio.gather(work("Download", 8), work("Parse", 5))
        assert [each.percent for each in job.progress.steps or ()] == [100, 100]
        assert kit.current().id == "job"


def test_a_generator_that_is_abandoned_in_a_step_cancels_the_step(kit: Kit) -> None:
    def rows() -> Iterator[int]:
        with kit.step("Parse"):
            yield from kit.track(range(10))

    with kit.observe("job", steps=TWO) as job:
        loop = rows()
        assert [next(loop), next(loop), next(loop)] == [0, 1, 2]
        del loop
        gc.collect()
        assert (states(job), count(job)) == (["pending", "cancelled"], (2, 10))
        with job.step("Download", total=1) as download:
            download.advance()
        assert states(job) == ["succeeded", "cancelled"]


def test_a_loop_that_outlives_its_step_counts_no_more(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with kit.step("Parse"):
            loop = kit.track(range(10))
            next(loop)
            next(loop)
        list(loop)
        assert (count(job), states(job)) == ((1, 10), ["pending", "succeeded"])


# Bad values.


BAD: list[Callable[[Kit, ProgressObserver], object]] = [
    lambda kit, job: job.advance(),
    lambda kit, job: job.advance(3),
    lambda kit, job: job.set_progress(5),
    lambda kit, job: job.update(total=5),
    lambda kit, job: kit.current().advance(),
    lambda kit, job: kit.observe().set_progress(1),
    lambda kit, job: list(kit.track([1, 2])),
    lambda kit, job: enter(job.step("Upload")),
    lambda kit, job: enter(job.step("")),
    lambda kit, job: enter(job.step("x" * 81)),
    lambda kit, job: job.step(5),  # type: ignore[arg-type]
    lambda kit, job: job.step("Parse").advance(),
    lambda kit, job: job.step("Parse", total=-1),
    lambda kit, job: kit.observe(steps=["others"]),
    lambda kit, job: kit.observe(steps={"Download": 1, "Parse": 2}),
    lambda kit, job: kit.observe(steps=5),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_reports_of_another_mode_are_dropped_or_raised(kit: Kit, number: int) -> None:
    with kit.observe("job", steps=TWO) as job:
        BAD[number](kit, job)
        assert job.dropped == 1
        assert (count(job), job.progress.percent, states(job)) == ((0, None), 0, ["pending", "pending"])
    strict = Kit(strict=True, threaded=False, clock=FakeClock())
    with strict.observe("job", steps=TWO) as job, pytest.raises(InvalidValue):
        BAD[number](strict, job)


def test_a_text_is_no_count_and_may_be_reported_on_the_job(kit: Kit) -> None:
    with kit.observe("job", steps=TWO, description="Importing") as job:
        job.set_progress(None, None, "Waiting")  # type: ignore[arg-type]
        job.update(meta={"a": 1}, unit="rows")
        assert (job.dropped, job.progress.description, job.progress.unit) == (0, "Waiting", "rows")


def test_the_same_steps_may_be_declared_again(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with kit.observe(steps=TWO), kit.step("Parse"):
            pass
        assert (job.dropped, job.progress.percent) == (0, 75)


def test_steps_cannot_be_declared_once_the_job_counts(kit: Kit) -> None:
    counting: list[Callable[[ProgressObserver], object]] = [
        lambda job: job.advance(),
        lambda job: job.update(total=5),
        lambda job: list(kit.track([1])),
        lambda job: enter(job.step("First")),
    ]
    for begin in counting:
        with kit.observe("job") as job:
            begin(job)
            kit.observe("job", steps=TWO)
            assert job.dropped == 1
            job.advance()
            assert job.dropped == 1


def test_a_step_that_is_refused_harms_nothing_and_counts_nothing(kit: Kit, step: Step) -> None:
    with kit.observe("job", steps=TWO, cancellable=True) as job:
        with kit.step("Upload", total=5) as upload:
            upload.advance(3)
            assert list(kit.track([1, 2])) == [1, 2]
            with upload.step("inner", total=5) as inner:
                inner.advance()
            assert (count(job), job.progress.percent, job.progress.step) == ((0, None), 0, None)
        assert kit.current().id == "job"
        step()
        kit.cancel("job")
        step(1)
        with pytest.raises(Cancelled), kit.step("Upload"):
            kit.current().advance()


def test_reports_after_the_block_of_a_step_are_ignored(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job:
        with job.step("Download", total=5) as download:
            download.advance()
        download.advance()
        download.set_progress(5, 10)
        assert (count(job), job.dropped) == ((1, 5), 0)


def test_steps_of_a_job_that_has_ended_and_of_no_job_are_silent(kit: Kit) -> None:
    job = kit.observe("job", steps=TWO)
    with job.step("Parse", total=2) as parse:
        parse.advance()
        job.succeed()
        parse.advance()
        with job.step("Download") as late:
            late.advance()
    assert (count(job), states(job), job.dropped) == ((1, 2), ["skipped", "succeeded"], 0)
    with kit.step("anything", total=5) as silent:
        silent.advance()
        with silent.step("inner"):
            assert list(kit.track([1, 2])) == [1, 2]
    assert silent.dropped == 0


# Steps that are not declared.


def test_steps_that_are_not_declared_each_count_as_the_whole_job(kit: Kit) -> None:
    with kit.observe("job") as job:
        with job.step("Read", total=4) as read:
            read.advance()
            assert (job.progress.percent, count(job), job.progress.step) == (25, (1, 4), 1)
        assert (job.progress.percent, states(job)) == (99.99, ["succeeded"])
        with job.step("Store", total=10) as store:
            store.advance()
            assert (job.progress.percent, count(job), job.progress.step) == (10, (1, 10), 2)
            assert states(job) == ["succeeded", "running"]
            assert [each.weight for each in job.progress.steps or ()] == [None, None]
        with job.step("Read") as read:
            assert (job.progress.step, count(job)) == (1, (1, 4))
        with job.step("Clean"):
            assert (job.progress.percent, job.progress.step) == (None, 3)
    assert states(job) == ["succeeded", "succeeded", "succeeded"]


def test_loops_one_after_the_other_are_unnamed_steps(kit: Kit) -> None:
    with kit.observe("job") as job:
        assert job.progress.step is None
        for number, size in enumerate((10, 4), 1):
            for done, _ in enumerate(kit.track(range(size))):
                assert (count(job), number_and_names(job)) == ((done, size), (number, None))
                assert job.progress.percent == 100 * done / size
        with job.step("Store", total=2) as store:
            store.advance()
            assert (count(job), job.progress.percent) == ((1, 2), 50)
            assert number_and_names(job) == (3, None), "the steps before it have no names"
        list(kit.track(range(3)))
        assert (count(job), number_and_names(job)) == ((3, 3), (4, None))
        job.set_progress(5, 10)
        assert (count(job), number_and_names(job), job.progress.percent) == ((5, 10), (None, None), 50)


def test_a_loop_that_is_the_job_is_no_step(kit: Kit, step: Step, stored: Stored) -> None:
    for _ in kit.track(range(3), id="job"):
        step(1)
        assert (stored("job").step, stored("job").steps) == (None, None)


def test_at_most_32_steps_are_taken(kit: Kit) -> None:
    with kit.observe("job") as job:
        for number in range(40):
            with job.step(f"step {number}"):
                pass
        assert (len(states(job)), job.dropped) == (32, 8)


def test_steps_inside_of_an_item_refine_it(kit: Kit) -> None:
    with kit.observe("job", total=10) as job:
        job.advance(3)
        with job.step("Read", total=4) as read:
            read.advance(2)
            assert (job.progress.percent, count(job)) == (35, (3, 10))
            assert (job.progress.steps, job.progress.step) == (None, None)
        assert job.progress.percent == 40
        with job.step("Store", total=4) as store:
            store.advance()
            assert job.progress.percent == 40, "a second step in the same item does not undo the first"
        job.advance()
        assert job.progress.percent == 40
        with job.step("Read", total=4) as read:
            assert job.progress.percent == 40, "another item begins at 0"
            read.advance(1)
            assert job.progress.percent == 42.5


def test_a_step_in_a_loop_refines_the_item_in_hand(kit: Kit) -> None:
    with kit.observe("job") as job:
        read = job.step("Read", total=2)
        for number, _ in enumerate(kit.track(range(4))):
            with read:
                assert job.progress.percent == 25 * number
                read.advance()
                assert (job.progress.percent, count(job)) == (25 * number + 12.5, (number, 4))
            with kit.step("Store"):
                list(kit.track(range(3)))
        assert (job.progress.percent, job.progress.step) == (99.99, 1)


def test_steps_nest(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job, job.step("Parse", total=10) as parse:
        parse.advance(3)
        with parse.step("File", total=2) as file:
            file.advance()
            assert job.progress.percent == 75 * 0.35 - 0.0  # 26.25
            assert (count(job), job.progress.step) == ((1, 2), 2), "the last one entered that is open"
            with kit.step("Row", total=2) as row:
                row.advance()
                assert job.progress.percent == 28.12
        assert count(job) == (3, 10)


def test_a_step_may_declare_steps_of_its_own(kit: Kit) -> None:
    with kit.observe("job", steps=TWO) as job, job.step("Parse"):
        kit.observe(steps=["a", "b"])
        with kit.step("a", total=2) as a:
            a.advance()
            assert (job.progress.percent, job.progress.step) == (18.75, 2)
        assert job.progress.percent == 37.5
    assert (states(job), job.dropped) == (["skipped", "succeeded"], 0)


# Loops inside of loops.


def test_half_of_the_fourth_of_ten_is_35_percent(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job") as job:
        for shard in kit.track(range(10)):
            for number in kit.track(range(4)):
                if (shard, number) == (3, 2):
                    assert (job.progress.percent, count(job)) == (35, (3, 10))
                    step(1)
                    assert stored("job").percent == 35
            if shard == 3:
                assert job.progress.percent == 40
    assert job.progress.percent == 100


def test_the_body_of_a_loop_that_is_the_job_is_refined_too(kit: Kit, step: Step, stored: Stored) -> None:
    for shard in kit.track(range(10), id="job"):
        for number in kit.track(range(2)):
            step(1)
            assert stored("job").percent == shard * 10 + number * 5
            assert (stored("job").step, stored("job").current) == (None, shard)


def test_three_loops_nest(kit: Kit) -> None:
    with kit.observe("job") as job:
        for a in kit.track(range(2)):
            for b in kit.track(range(5)):
                for c in kit.track(range(10)):
                    assert job.progress.percent == a * 50 + b * 10 + c


@pytest.mark.parametrize("cancellable", [False, True])
def test_an_inner_loop_that_is_left_leaves_its_share_until_the_next_item(kit: Kit, cancellable: bool) -> None:
    with kit.observe("job", cancellable=cancellable) as job:
        for a in kit.track(range(4)):
            for b in kit.track(range(10)):
                if b == 5:
                    break
            assert job.progress.percent == a * 25 + 12.5
            for c in kit.track(range(2)):
                assert job.progress.percent == a * 25 + 12.5
                for d in kit.track(range(2)):
                    assert job.progress.percent == a * 25 + max(12.5, 12.5 * c + 6.25 * d)
                    if (c, d) == (1, 1):
                        break


def test_an_inner_loop_refines_no_item_of_another_loop(kit: Kit) -> None:
    with kit.observe("job") as job:
        for _ in kit.track(range(4)):
            list(kit.track(range(2)))
        for a, _ in enumerate(kit.track(range(4))):
            assert job.progress.percent == a * 25
        with job.step("Store", total=4) as store:
            store.advance(3)
            assert job.progress.percent == 75
        for a, _ in enumerate(kit.track(range(4))):
            assert job.progress.percent == a * 25
            with kit.step("Store", total=2) as store:
                store.advance()
                assert job.progress.percent == a * 25 + 12.5


def test_loops_at_once_in_one_job_never_count_for_more_than_the_item_in_hand(kit: Kit) -> None:
    with kit.observe("job") as job:
        loops = [kit.track(range(10)), kit.track(range(20))]
        seen = [job.progress.percent or 0]
        for _ in range(10):
            for loop in loops:
                next(loop)
                seen.append(job.progress.percent or 0)
        assert seen == sorted(seen)
        assert seen[-1] == 90


def test_a_nested_loop_without_a_length_refines_nothing(kit: Kit) -> None:
    with kit.observe("job") as job:
        for a in kit.track(range(4)):
            for _ in kit.track(iter(range(3))):
                assert job.progress.percent == a * 25
        for _ in kit.track(iter(range(4))):
            for _ in kit.track(range(3)):
                assert job.progress.percent is None


def test_a_length_that_is_wrong_never_counts_an_item_for_more_than_one(kit: Kit) -> None:
    with kit.observe("job") as job:
        for a in kit.track(range(4)):
            for _ in kit.track(range(10), total=2):
                assert a * 25 <= (job.progress.percent or 0) <= a * 25 + 25


def test_a_count_by_calls_within_nested_loops_is_the_jobs(kit: Kit) -> None:
    with kit.observe("job", total=100) as job:
        for _ in kit.track(range(5)):
            for _ in kit.track(range(3)):
                job.advance(2)
        assert job.progress.current == 5 + 30


async def rows(size: int) -> AsyncIterator[int]:
    for number in range(size):
        await asyncio.sleep(0)
        yield number


async def test_async_loops_nest_too(kit: Kit) -> None:
    async with kit.observe("job") as job:
        a = 0
        async for _ in kit.track(rows(4), total=4):
            b = 0
            async for _ in kit.track(rows(5), total=5):
                assert job.progress.percent == a * 25 + b * 5
                b += 1
                if b == 4:
                    break
            for c in kit.track(range(2)):
                assert (job.progress.percent or 0) >= a * 25 + 15
                del c
            a += 1
        assert job.progress.percent == 99.99


@pytest.mark.parametrize("nesting", [1, 2, 3])
def test_a_cancel_stops_the_innermost_loop_at_its_next_item(kit: Kit, step: Step, nesting: int) -> None:
    taken: list[int] = []

    def loop(depth: int) -> None:
        for number in kit.track(range(100)):
            if depth > 1:
                loop(depth - 1)
            else:
                taken.append(number)
                if number == 5:
                    kit.cancel("job")
                    step(1)

    with pytest.raises(Cancelled), kit.observe("job", steps=TWO, cancellable=True) as job, job.step("Parse"):
        step()
        loop(nesting)
    assert taken == [0, 1, 2, 3, 4, 5]
    assert (states(job), job.progress.state) == (["pending", "cancelled"], State.CANCELLED)


def test_a_cancel_stops_a_step_at_its_next_report(kit: Kit, step: Step) -> None:
    job = kit.observe("job", steps=TWO, cancellable=True)
    with pytest.raises(Cancelled), job, job.step("Download", total=5) as download:
        step()
        kit.cancel("job")
        download.advance()
        step(1)
        download.advance()
    assert (states(job), count(job)) == (["cancelled", "pending"], (1, 5))


# Any history.

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "fail", "advance", "total"]), st.integers(0, 2), st.integers(1, 9)),
    max_size=40,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 20), min_size=3, max_size=3), ACTIONS)
def test_any_history_of_steps_is_what_a_simple_model_says(
    kit: Kit, weights: list[int], history: list[tuple[str, int, int]]
) -> None:
    contextvars.copy_context().run(compare_with_a_model, kit, weights, history)


def compare_with_a_model(kit: Kit, weights: list[int], history: list[tuple[str, int, int]]) -> None:
    names = ["a", "b", "c"]
    job = kit.observe("job", steps=dict(zip(names, weights, strict=True)))
    handles: list[StepObserver] = [job.step(name) for name in names]
    model = [{"state": "pending", "done": 0, "total": None, "whole": False} for _ in names]
    percents = [0.0]
    for action, index, number in history:
        handle, step = handles[index], model[index]
        is_open = step["state"] == "running"
        if action == "enter" and not is_open:
            handle.__enter__()
            step["state"] = "running"
        elif action in ("leave", "fail") and is_open:
            error = ValueError() if action == "fail" else None
            handle.__exit__(None if error is None else ValueError, error, None)
            step["state"], step["whole"] = ("failed", step["whole"]) if error else ("succeeded", True)
        elif action == "advance" and is_open:
            handle.advance(number)
            step["done"] += number  # type: ignore[operator]
        elif action == "total" and is_open:
            total = (step["total"] or 0) + number  # type: ignore[operator]
            handle.update(total=total)
            step["total"], step["whole"] = total, False
            percents.clear()
        else:
            continue
        shares = [
            10_000 if s["whole"] else min(s["done"] * 10_000 // s["total"], 9_999) if s["total"] else 0  # type: ignore[operator]
            for s in model
        ]
        share = min(sum(w * s for w, s in zip(weights, shares, strict=True)) // sum(weights), 9_999)
        assert [each.state.value for each in job.progress.steps or ()] == [s["state"] for s in model]
        assert round((job.progress.percent or 0) * 100) == share
        assert job.progress.percent is not None
        percents.append(job.progress.percent)
        assert percents == sorted(percents), "only a higher total lowers the percent"
    job.succeed()


# Samples, records, processes.


def test_percent_never_falls_while_nested_loops_are_sampled(make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(url="memory://")
    seen: list[float] = []
    stop = threading.Event()
    with kit.observe("job") as job:

        def look() -> None:
            while not stop.is_set():
                seen.append(job.progress.percent or 0)

        def wait_for_a_sample() -> None:
            before = len(seen)
            wait_until(lambda: len(seen) > before, "another sample", step=0.0001)

        thread = threading.Thread(target=look)
        thread.start()
        for a in kit.track(range(10)):
            for b in kit.track(range(20)):
                for c in kit.track(range(50)):
                    if c == 25:
                        wait_for_a_sample()
                if b == a:
                    break
        stop.set()
        thread.join()
    assert seen == sorted(seen)
    assert len(set(seen)) >= 20


def test_steps_add_no_write_of_their_own(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    with kit.observe("job", steps=TWO) as job:
        step()
        for name in TWO:
            with job.step(name, total=100) as part:
                for _ in range(100):
                    part.advance()
        assert len(backend.batches) == 1
        step(1)
        assert len(backend.batches) == 2
        step(1)
        assert len(backend.batches) == 2, "no change, no record"
    step()
    assert len(backend.batches) == 3


def test_a_quiet_step_is_sampled_again_when_it_reports(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job", steps=TWO) as job, job.step("Download", total=10) as download:
        for number in range(5):
            download.advance()
            step(1)
            step(1)
            assert stored("job").current == number + 1


def test_entering_and_leaving_a_step_wakes_the_publisher_after_a_quiet_time(
    kit: Kit, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(kit.publisher, "wake", lambda: woken.append("woken"))
    with kit.observe("job", steps=TWO) as job:
        for _ in range(2):
            step(1)
        with job.step("Parse"):
            assert len(woken) == 1
            for _ in range(2):
                step(1)
        assert len(woken) == 2


def test_the_time_left_is_that_of_the_whole_job(kit: Kit, step: Step, clock: FakeClock) -> None:
    with kit.observe("job", steps={"a": 1, "b": 1}) as job:
        with job.step("a", total=100, unit="rows") as a:
            for _ in range(100):
                a.advance()
                step(1)
            progress = job.progress
            assert progress.rate == pytest.approx(1, rel=0.05)
            assert progress.eta == pytest.approx(100, rel=0.1), "the second step takes as long as the first"
        with job.step("b", total=1_000_000) as b:
            b.advance(10_000)
            step(1)
            assert job.progress.rate is None, "not that of the step before"
            for _ in range(20):
                b.advance(10_000)
                step(1)
            assert job.progress.rate == pytest.approx(10_000, rel=0.05)
            assert job.progress.eta == pytest.approx(79, rel=0.2)


def test_a_retry_starts_the_steps_again(kit: Kit, step: Step, stored: Stored) -> None:
    class Retry(Exception):
        pass

    integration = Integration(kit, control_exceptions={Retry: State.RETRYING})

    def task() -> None:
        with kit.observe(steps=TWO):
            with kit.step("Download", total=2) as download:
                download.advance()
                step()
            with kit.step("Parse"):
                if attempt == 1:
                    raise Retry

    attempt = 1
    with pytest.raises(Retry), integration.start("task", attempt=1):
        task()
    step()
    progress = stored("task")
    assert (progress.state, [each.state.value for each in progress.steps or ()]) == (
        State.RETRYING,
        ["succeeded", "cancelled"],
    )
    attempt = 2
    with integration.start("task", attempt=2) as run:
        with kit.observe(steps=TWO):
            pass
        step(0.1)
        assert (stored("task").percent, stored("task").attempt) == (0, 2)
        assert run.job.progress.steps is not None
        assert [each.state.value for each in run.job.progress.steps] == ["pending", "pending"]
        task()
    step()
    assert [each.state.value for each in stored("task").steps or ()] == ["succeeded", "succeeded"]


@needs_fork
def test_a_forked_child_does_not_report_to_the_steps_of_its_parent(make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(url="memory://")
    with kit.observe("job", steps=TWO) as job, job.step("Parse", total=10) as parse:
        parse.advance(2)

        def report() -> None:
            parse.advance(5)
            with job.step("Download") as download:
                download.advance()
            assert not job.dropped

        assert Child(report).succeeds()
        assert (count(job), states(job)) == ((2, 10), ["pending", "running"])


def test_jobs_with_steps_leave_no_garbage(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    gc.collect()
    gc.disable()
    try:
        with kit.observe("garbage", steps=TWO) as job, job.step("Parse") as parse:
            for _ in kit.track(range(3)):
                with kit.step("inner"):
                    list(kit.track(range(3)))
        step()
        assert backend.store.read(["garbage"])["garbage"].done
        del job, parse
        # The class of a lazy object, which Django may have made, is not asked for.
        jobs = [found for found in gc.get_objects() if issubclass(type(found), Job)]
        assert [job for job in jobs if job.id == "garbage"] == []
    finally:
        gc.enable()
