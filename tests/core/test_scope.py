"""Which job surrounds a piece of code: that of the loop or block around it, wherever that runs and however it ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progresskit import Kit, Progress, State, scope

from .doubles import FlakyBackend

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]


@pytest.fixture(autouse=True)
def no_job_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert scope.current_job() is None
    assert not scope.is_orphaned()


def here(kit: Kit) -> str | None:
    """Return the id of the surrounding job."""
    job = kit.current()
    return None if job.id == "silent" else job.id


def ids(backend: FlakyBackend) -> set[str]:
    return {write.id for write in backend.written}


def in_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


# The body of a loop.


@pytest.mark.parametrize("cancellable", [False, True])
def test_a_loop_is_the_surrounding_job_of_its_body(kit: Kit, cancellable: bool) -> None:
    loop = kit.track(range(3), id="job", cancellable=cancellable)
    assert here(kit) is None
    for _ in loop:
        assert here(kit) == "job"
    assert here(kit) is None


def test_code_in_the_body_reports_to_the_job_of_the_loop(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    def library(shard: int) -> None:
        for _ in kit.track(range(10), description="reading"):
            kit.current().update(meta={"shard": shard})
        with kit.observe(description=f"shard {shard}"):
            pass

    for shard in kit.track(range(3), id="job"):
        library(shard)
        step(1)
        progress = backend.store.read(["job"])["job"]
        assert (progress.current, progress.total, progress.meta) == (shard, 3, {"shard": shard})
        assert progress.description == f"shard {shard}"
    step()
    assert ids(backend) == {"job"}, "no stray job"
    assert backend.store.read(["job"])["job"].state is State.SUCCEEDED


def test_the_items_are_made_within_the_job(kit: Kit) -> None:
    def rows() -> Iterator[str | None]:
        for _ in range(3):
            yield here(kit)

    assert list(kit.track(rows(), id="job")) == ["job"] * 3


def test_another_id_in_the_body_is_a_child_and_its_loop_surrounds_its_own_body(
    kit: Kit, step: Step, stored: Stored
) -> None:
    for number in kit.track(range(2), id="job"):
        for _ in kit.track(range(2), id=f"child-{number}"):
            assert here(kit) == f"child-{number}"
        assert here(kit) == "job"
        with kit.observe(f"block-{number}"):
            assert here(kit) == f"block-{number}"
        assert here(kit) == "job"
    step()
    assert {stored(id).parent for id in ("child-0", "child-1", "block-0", "block-1")} == {"job"}
    assert stored("job").parent is None


def test_a_loop_that_was_left_surrounds_nothing_more(kit: Kit) -> None:
    for number in kit.track(range(10), id="job"):
        if number == 3:
            break
    assert here(kit) is None


def test_a_loop_that_was_left_by_an_error_does_not_surround_what_handles_it(kit: Kit) -> None:
    try:
        for _ in kit.track(range(10), id="job"):
            raise ValueError("row 0")
    except ValueError:
        assert here(kit) is None


def test_a_loop_whose_items_fail_does_not_surround_what_handles_it(kit: Kit) -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    try:
        for _ in kit.track(rows(), id="job"):
            assert here(kit) == "job"
    except OSError:
        assert here(kit) is None


def test_a_loop_in_a_generator_is_over_when_the_generator_is(kit: Kit) -> None:
    def rows() -> Iterator[int]:
        yield from kit.track(range(10), id="job")

    generator = rows()
    next(generator)
    assert here(kit) == "job"
    generator.close()  # type: ignore[attr-defined]
    assert here(kit) is None


def test_a_job_joined_again_by_its_own_id_is_no_second_one(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    for _ in kit.track(range(3), id="job"):
        with kit.observe("job") as job:
            job.update(description="joined")
    step()
    progress = backend.store.read(["job"])["job"]
    assert (progress.version.run, progress.state, progress.description) == (1, State.SUCCEEDED, "joined")


@pytest.mark.parametrize(("first", "second"), [(2, 5), (5, 2), (3, 3)])
def test_of_interleaved_loops_the_one_that_began_last_surrounds(
    kit: Kit, step: Step, stored: Stored, first: int, second: int
) -> None:
    for _ in zip(kit.track(range(first), id="first"), kit.track(range(second), id="second"), strict=False):
        assert here(kit) == "second"
    assert here(kit) is None
    step()
    assert stored("first").done
    assert stored("second").done


def test_of_interleaved_loops_the_outer_one_surrounds_again_once_the_inner_one_is_over(kit: Kit) -> None:
    with kit.observe("around"):
        outer, inner = iter(kit.track(range(9), id="outer")), iter(kit.track(range(2), id="inner"))
        next(outer)
        assert list(inner) == [0, 1]
        assert here(kit) == "outer"
        inner = iter(kit.track(range(2), id="inner"))
        next(inner)
        del outer
        assert here(kit) == "inner"
        del inner
        assert here(kit) == "around"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["loop", "block", "next", "leave"]), st.integers(0, 5)), max_size=25))
def test_whatever_begins_and_ends_in_whatever_order_the_newest_that_is_open_surrounds(
    kit: Kit, acts: list[tuple[str, int]]
) -> None:
    open_ones: dict[str, Any] = {}
    for number, (act, which) in enumerate(acts):
        names = list(open_ones)
        name = names[which % len(names)] if names else None
        if act == "loop":
            open_ones[f"loop-{number}"] = iter(kit.track(range(3), id=f"loop-{number}"))
            next(open_ones[f"loop-{number}"])
        elif act == "block":
            open_ones[f"block-{number}"] = kit.observe(f"block-{number}").__enter__()
        elif name is not None and act == "leave":
            leaving = open_ones.pop(name)
            if name.startswith("block"):
                leaving.__exit__(None, None, None)
            del leaving
        elif name is not None and name.startswith("loop") and next(open_ones[name], None) is None:
            del open_ones[name]
        assert here(kit) == next(reversed(open_ones), None)
    for name in list(open_ones):
        leaving = open_ones.pop(name)
        if name.startswith("block"):
            leaving.__exit__(None, None, None)
        del leaving
    assert here(kit) is None


# Threads and contexts.


def test_a_loop_surrounds_its_body_in_the_thread_that_runs_it(kit: Kit) -> None:
    loop = kit.track(range(3), id="job")
    assert in_thread(lambda: [here(kit) for _ in loop]) == ["job"] * 3
    assert here(kit) is None


def test_a_joined_loop_surrounds_its_body_in_another_thread_too(kit: Kit) -> None:
    with kit.observe("job"):
        loop = kit.track(range(3))
        assert in_thread(lambda: [here(kit) for _ in loop]) == ["job"] * 3
        assert in_thread(lambda: here(kit)) is None


def test_a_loop_that_was_begun_here_and_ended_in_another_thread_surrounds_nothing_more_here(kit: Kit) -> None:
    loop = iter(kit.track(range(3), id="job"))
    next(loop)
    assert here(kit) == "job"
    assert in_thread(lambda: list(loop)) == [1, 2]
    assert here(kit) is None
    assert kit.observe().id != "silent", "a job of its own is opened"


def test_a_loop_that_is_dropped_by_another_thread_surrounds_nothing_more_here(kit: Kit) -> None:
    def begin() -> None:
        loop = iter(kit.track(range(3), id="job"))
        next(loop)
        cycle: list[Any] = [loop]
        cycle.append(cycle)

    gc.disable()
    try:
        begin()
        assert here(kit) == "job"
        in_thread(gc.collect)
    finally:
        gc.enable()
    assert here(kit) is None
    assert not scope.is_orphaned()


def test_a_copy_of_the_context_carries_the_job_to_a_thread(kit: Kit) -> None:
    for _ in kit.track(range(3), id="job"):
        context = contextvars.copy_context()
        assert in_thread(lambda context=context: context.run(here, kit)) == "job"  # type: ignore[misc]


def test_a_thread_that_begins_in_a_job_does_not_inherit_it(kit: Kit) -> None:
    found: list[str | None] = []
    for _ in kit.track(range(1), id="job"):
        thread = Thread(target=lambda: found.append(here(kit)))
        thread.start()
        thread.join()
    assert found == [None]


def test_a_copy_that_outlives_the_loop_opens_no_stray_jobs(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    context = contextvars.copy_context()
    for _ in kit.track(range(1), id="job"):
        context = contextvars.copy_context()

    def late() -> None:
        kit.current().advance()
        assert list(kit.track(range(3))) == [0, 1, 2]
        with kit.observe() as observer:
            observer.advance()

    context.run(late)
    step()
    assert ids(backend) == {"job"}
    context.run(lambda: list(kit.track(range(3), id="named")))
    step()
    assert backend.store.read(["named"])["named"].parent is None


def test_threads_whose_loops_are_ended_elsewhere_collect_no_scopes(kit: Kit) -> None:
    for number in range(50):
        loop = iter(kit.track(range(2), id=f"job-{number}"))
        next(loop)
        in_thread(lambda loop=loop: list(loop))  # type: ignore[misc]
    gc.collect()
    assert here(kit) is None
    # By its type: `isinstance` would have lazy objects of other tests, such as Django's, be made.
    assert not [kept for kept in gc.get_objects() if issubclass(type(kept), scope.Scope)]


def test_a_thread_without_a_job_that_asks_for_one_is_warned_of_once(
    kit: Kit, step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    def report() -> None:
        kit.current().advance()

    in_thread(report)
    for _ in kit.track(range(3), id="job"):
        step()
        report()
    assert caplog.messages == [], "no job was open, or it was the job's own thread"
    with kit.observe("job"):
        step()
        context = contextvars.copy_context()
        in_thread(lambda: context.run(report))
        assert caplog.messages == [], "the thread has the context of the job"
        in_thread(lambda: kit.current().id)
        assert caplog.messages == [], "nothing is lost that was not reported"
        for _ in range(3):
            in_thread(report)
    (message,) = caplog.messages
    assert message.startswith("The thread ThreadPoolExecutor-")
    assert message.endswith("start it with contextvars.copy_context().run, or pass it the observer")


# asyncio.


async def rows(size: int) -> AsyncIterator[int]:
    for number in range(size):
        await asyncio.sleep(0)
        yield number


async def test_an_async_loop_surrounds_its_body(kit: Kit) -> None:
    async for _ in kit.track(rows(3), id="job"):
        assert here(kit) == "job"
        await asyncio.sleep(0)
        assert here(kit) == "job"
    assert here(kit) is None
    assert not scope.is_orphaned()


async def test_an_async_loop_that_was_left_surrounds_nothing_more_at_once(kit: Kit, step: Step, stored: Stored) -> None:
    async for number in kit.track(rows(9), id="job"):
        if number == 2:
            break
    assert here(kit) is None, "with nothing awaited since the loop"
    step()
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 2)


async def test_an_async_loop_that_fails_surrounds_nothing_more(kit: Kit, step: Step, stored: Stored) -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise OSError("disk")

    loop = kit.track(failing(), id="job")
    with pytest.raises(OSError, match="disk"):
        async for _ in loop:
            pass
    assert here(kit) is None
    with pytest.raises(StopAsyncIteration):
        await anext(loop)
    step()
    assert stored("job").state is State.CANCELLED


async def test_each_task_has_the_job_of_its_own_loop(kit: Kit) -> None:
    async def work(id: str) -> None:
        async for _ in kit.track(rows(5), id=id):
            assert here(kit) == id
            await asyncio.sleep(0)
            for _ in kit.track(range(2), id=f"{id}-child"):
                assert here(kit) == f"{id}-child"
                await asyncio.sleep(0)
            assert here(kit) == id
        assert here(kit) is None

    await asyncio.gather(*(work(f"job-{number}") for number in range(5)))


async def test_tasks_that_a_loop_starts_are_in_its_job_and_silent_after_it(
    kit: Kit, step: Step, backend: FlakyBackend
) -> None:
    go_on = asyncio.Event()

    async def fetch() -> tuple[str | None, str | None]:
        before = here(kit)
        await go_on.wait()
        list(kit.track(range(3)))
        return before, here(kit)

    tasks = []
    for _ in kit.track(range(3), id="job"):
        tasks.append(asyncio.create_task(fetch()))
        await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*tasks) == [("job", None)] * 3
    step()
    assert ids(backend) == {"job"}


# Units of nested loops.


def test_the_unit_of_an_inner_loop_does_not_replace_that_of_the_outer_one(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job"):
        for number in kit.track(range(3), unit="shards"):
            for _ in kit.track(range(5), unit="rows", description="Reading"):
                pass
            step(1)
            progress = stored("job")
            assert (progress.unit, progress.current, progress.total) == ("shards", number, 3)
            assert progress.description == "Reading"
        for _ in kit.track(range(5), unit="rows"):
            pass
        step(1)
        assert (stored("job").unit, stored("job").total) == ("rows", 5)
