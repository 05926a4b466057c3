"""Pools whose threads and processes count for the surrounding job."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from contextvars import ContextVar
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from progresskit import Cancelled, InvalidValue, Kit, current, track
from progresskit.pool import ThreadPoolExecutor, initializer
from progresskit.shared_counts import SharedCount, SharedCounts
from progresskit.testing.helpers import until
from progresskit.validation import DESCRIPTION_LENGTH
from tests.services.forking import Child, needs_fork

from . import pools

HERE = ContextVar("HERE", default="nowhere")


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", strict=True)
    yield kit
    kit.close()


# Threads.


def test_a_thread_has_the_job_and_the_context_of_each_call(kit: Kit) -> None:
    def work(n: int) -> tuple[str, str]:
        current().advance(n)
        return current().id, HERE.get()

    with ThreadPoolExecutor(2) as pool:
        with kit.observe("a") as a:
            HERE.set("in a")
            assert {*pool.map(work, [1] * 100)} == {("a", "in a")}
            late = pool.submit(lambda n: work(n), n=5)
            assert late.result() == ("a", "in a")
            with kit.observe("b") as b:
                assert {call.result() for call in [pool.submit(work, 2) for _ in range(100)]} == {("b", "in a")}
        assert pool.submit(work, 1).result()[0] == "silent"
    assert (a.progress.current, b.progress.current) == (105, 200)


def test_futures_are_counted_as_they_complete(kit: Kit) -> None:
    with kit.observe("job") as job, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(abs, -number) for number in range(50)]
        assert sum(call.result() for call in track(futures.as_completed(calls), total=len(calls))) == 1225
        assert (job.progress.current, job.progress.total) == (50, 50)


def test_futures_of_asyncio_are_counted_as_they_complete(kit: Kit) -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> None:
        async with kit.observe("job") as job:
            calls = [asyncio.ensure_future(work(number)) for number in range(50)]
            found = [await call for call in track(asyncio.as_completed(calls), total=len(calls))]
            assert sorted(found) == [*range(50)]
            assert (job.progress.current, job.progress.total) == (50, 50)
            if sys.version_info >= (3, 13):  # gives the futures themselves to an `async for`
                more = [asyncio.ensure_future(work(number)) for number in range(20)]
                async for call in track(asyncio.as_completed(more), total=len(more)):
                    assert call in more
                assert (job.progress.current, job.progress.total) == (20, 20)

    asyncio.run(main())


# Processes.


@needs_fork
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "loky"])
def test_processes_count_exactly_in_the_job_of_their_parent_though_some_are_killed(method: str) -> None:
    counted = pools.CALLS * pools.EACH + pools.BARS + pools.UNTIL_KILLED
    if method != "loky":
        counted *= 2  # by an executor and by a pool
    command = [sys.executable, pools.__file__, method]
    path = os.pathsep.join([os.getcwd(), *filter(None, sys.path)])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    assert json.loads(done.stdout) == {
        "ids": ["job"],
        "mode": 0o700,
        "counted": counted,
        "last": counted,
        "total": None,
        "described": True,
        "left": False,
    }


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_request_to_cancel_is_raised_in_the_processes_and_where_results_are_asked_for(kit: Kit) -> None:
    context = multiprocessing.get_context("fork")
    with kit.observe("job", cancellable=True) as job:
        arguments = initializer()
        with context.Pool(2, **arguments) as pool, futures.ProcessPoolExecutor(2, context, **arguments) as executor:
            calls = [pool.apply_async(way) for way in pools.ENDLESS]
            others = [executor.submit(way) for way in pools.ENDLESS]
            until(lambda: job.progress.current > 0)
            kit.cancel("job")
            for call in calls:
                with pytest.raises(Cancelled):
                    call.get(60)
            for other in others:
                with pytest.raises(Cancelled):
                    other.result(60)
            late = pool.apply_async(pools.count, (1,))  # by processes that live on
            with pytest.raises(Cancelled):
                late.get(60)


def test_a_request_to_cancel_ends_the_call_of_a_thread_of_multiprocessing_and_not_the_thread(kit: Kit) -> None:
    with kit.observe("job", cancellable=True) as job, ThreadPool(1) as pool:
        kit.flush()
        assert kit.cancel("job")
        until(lambda: job.cancel_requested)
        for call in (job.advance, job.check_cancelled):
            with pytest.raises(Cancelled):
                pool.apply_async(call).get(60)


# The counts that are shared.


def test_counts_of_others_are_added_to_those_of_the_process(kit: Kit) -> None:
    with kit.observe("job") as job:
        count = count_of(initializer())
        job.advance(2)
        count.add(3)
        assert job.progress.current == 5
        count.add(0.5)
        assert job.progress.current == 5.5
        for _ in track("abc"):  # counts from 0 of its own total
            pass
        assert job.progress.current == 3
        count.add(1)
        assert job.progress.current == 4
        assert [*count.folder.glob("[0-9]*")]
        count.finish()
        assert job.progress.current == 4
        assert not [*count.folder.glob("[0-9]*")]
        count.add(1)  # goes on all the same
        count.add(-2)
        assert job.progress.current == 3
        count.add(-4)
        assert job.progress.current == 0
        count.add(3)
        assert job.progress.current == 2
    assert kit.get("job").current == 2  # type: ignore[union-attr]
    assert not count.folder.exists()


def test_a_step_is_counted_by_the_processes_that_it_started(kit: Kit) -> None:
    with kit.observe("job", steps=["one", "two"]) as job:
        with job.step("one", total=4):
            count = count_of(initializer())
            count.add(3)
            assert (job.progress.current, job.progress.percent) == (3, 37.5)
            assert initializer() == initializer()
        with pytest.raises(InvalidValue, match="must be reported to a step"):
            initializer()
    assert not count.folder.exists()


def test_the_newest_description_is_that_of_the_job(kit: Kit) -> None:
    with kit.observe("job", description="of the parent") as job:
        counts = [count_of(initializer()) for _ in range(2)]
        assert job.progress.description == "of the parent"
        for number in (0, 1, 0):
            counts[number].describe(f"of {number}")
        assert job.progress.description == "of 0"
        job.update(description="of the parent again")
        assert job.progress.description == "of the parent again"
        counts[1].describe("é" * 1_000)
        counts[1].finish()
    last = kit.get("job")
    assert last is not None
    assert last.description == "é" * (DESCRIPTION_LENGTH - 1) + "…"


def test_without_a_job_that_runs_nothing_is_prepared(kit: Kit) -> None:
    with kit.observe("job") as job:
        pass
    for arguments in (initializer(), initializer(job), initializer(current())):
        assert arguments["initializer"](*arguments["initargs"]) is None
        assert not arguments["initargs"]


def test_a_job_that_has_ended_is_counted_nowhere(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    with kit.observe("job"):
        arguments = initializer()
    count = count_of(arguments)
    count.add(1)
    count.describe("late")
    count.finish()
    assert not count.cancelled[0]
    assert not caplog.records


def test_a_folder_that_cannot_be_used_is_logged_once_and_keeps_no_work_from_being_done(
    kit: Kit, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    with kit.observe("job") as job:
        count = count_of(initializer())
        with monkeypatch.context() as patch:
            patch.setattr("progresskit.shared_counts.os.open", fail)
            count.add(1)
        count.add(1)
        assert job.progress.current == 0
        assert [record.message for record in caplog.records] == [
            f"Process {os.getpid()} counts nothing for the job of its parent: no space left"
        ]
    monkeypatch.setattr("progresskit.shared_counts.mkdtemp", fail)
    with kit.observe("job"):
        assert not initializer()["initargs"]
    assert caplog.records[-1].message == "Job job: processes cannot count for it: no space left"


@needs_fork
def test_a_forked_child_has_a_count_of_its_own_and_leaves_the_folder_to_its_owner() -> None:
    counts = SharedCounts()
    count = SharedCount(counts.folder)
    count.add(1)

    def act() -> None:
        count.restart()
        count.add(2)
        gone = ref(counts)
        forget()
        assert gone() is None

    def forget() -> None:
        nonlocal counts
        del counts

    assert Child(act).succeeds()
    assert counts.done() == 3
    folder = counts.folder
    forget()
    assert not folder.exists()


def count_of(arguments: Any) -> SharedCount:
    """Return the count that a child of these arguments has."""
    return SharedCount(Path(arguments["initargs"][0]))
