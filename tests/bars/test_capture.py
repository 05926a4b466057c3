"""Bars of libraries that know nothing of progresskit: counted in a block of `capture()`, and nowhere else."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import rich.progress
from rich.console import Console
from tqdm import tqdm
from tqdm.auto import tqdm as automatic
from tqdm.std import tqdm as standard

from progresskit import Cancelled, Kit, ProgressObserver, State, StepState, capture

from .test_tqdm import EACH, stands

UPDATES = 10_000
PATCHED = ("__init__", "__iter__", "refresh", "reset", "close")


class Own(standard):
    """A subclass that was made before any block."""


@EACH
@pytest.mark.parametrize("bars", [tqdm, automatic, Own])
def test_a_bar_in_a_block_counts_for_the_surrounding_job(kit: Kit, options: dict[str, Any], bars: Any) -> None:
    options = options | {"mininterval": 0, "miniters": 1}
    with kit.observe("job") as job, capture():
        seen = [stands(job) for _ in bars(range(4), **options)]
        assert seen == [(0, 4, 0), (1, 4, 25), (2, 4, 50), (3, 4, 75)]
        assert stands(job) == (4, 4, 99.99)
        with bars(total=10, desc="By hand", **options) as bar:
            bar.update(5)
            assert (*stands(job), job.progress.description) == (5, 10, 50, "By hand")


def patched() -> list[Any]:
    """Return the methods that blocks replace, as they are now."""
    return [vars(standard)[name] for name in PATCHED] + [vars(rich.progress.Progress)[name] for name in TASKS]


def test_the_patches_are_gone_after_the_last_block(kit: Kit) -> None:
    before = patched()
    with kit.observe("job"), capture():
        assert all(now is not then for now, then in zip(patched(), before, strict=True))
        with capture():
            pass
        assert all(now is not then for now, then in zip(patched(), before, strict=True))
    assert patched() == before


TASKS = ("add_task", "advance", "update", "reset", "remove_task", "stop", "track")


def test_a_bar_of_another_context_is_left_alone(kit: Kit) -> None:
    before = tqdm(total=10, disable=True)
    with kit.observe("job") as job, capture():
        before.update(3)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: tqdm(total=10, disable=True).update(3)).result()
        assert stands(job) == (0, None, None)
        inside = tqdm(total=10, file=io.StringIO())
        inside.update(4)
        assert stands(job) == (4, 10, 40)
    inside.update(5)  # after its block and its job
    inside.close()
    assert kit.get("job").current == 4  # type: ignore[union-attr]
    with capture():
        tqdm(total=10, disable=True).update(3)


def test_a_bar_that_outlives_its_block_counts_no_more(kit: Kit) -> None:
    with kit.observe("job") as job:
        with capture():
            bar = tqdm(total=10, file=io.StringIO(), mininterval=0, miniters=1)
            bar.update(4)
        bar.update(5)
        assert stands(job) == (4, 10, 40)
        bar.close()


def test_two_jobs_in_two_threads_never_mix(kit: Kit) -> None:
    both = Barrier(2)

    def work(id: str, total: int) -> list[Any]:
        with kit.observe(id) as job, capture():
            both.wait(60)
            with tqdm(total=total, file=io.StringIO()) as bar:
                for _ in range(UPDATES):
                    bar.update()
            return [*stands(job)]

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.submit(work, "one", UPDATES), threads.submit(work, "two", 2 * UPDATES)
        assert one.result() == [UPDATES, UPDATES, 99.99]
        assert two.result() == [UPDATES, 2 * UPDATES, 50]


def test_two_jobs_in_two_tasks_never_mix(kit: Kit) -> None:
    async def work(id: str, total: int) -> list[Any]:
        async with kit.observe(id) as job:
            with capture():
                with tqdm(total=total, disable=True) as bar:
                    for each in range(UPDATES):
                        bar.update()
                        if each % 100 == 0:
                            await asyncio.sleep(0)
                return [*stands(job)]

    async def both() -> list[list[Any]]:
        return [*await asyncio.gather(work("one", UPDATES), work("two", 2 * UPDATES))]

    assert asyncio.run(both()) == [[UPDATES, UPDATES, 99.99], [UPDATES, 2 * UPDATES, 50]]


def test_a_captured_loop_stops_when_its_job_is_cancelled(kit: Kit) -> None:
    with pytest.raises(Cancelled), kit.observe("job", cancellable=True), capture():
        for row in tqdm(range(10**7), file=io.StringIO()):
            if row == 5:
                kit.flush()
                kit.cancel("job")
    assert kit.get("job").state is State.CANCELLED  # type: ignore[union-attr]


# rich.


def steps_of(job: ProgressObserver) -> list[tuple[str, StepState]]:
    return [(step.name, step.state) for step in job.progress.steps or ()]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


def test_the_tasks_of_rich_are_steps(kit: Kit, console: Console) -> None:
    with kit.observe("job") as job, capture():
        with rich.progress.Progress(console=console, auto_refresh=False) as progress:
            download = progress.add_task("[red]Download", total=10)
            read = progress.add_task("Read", total=4)
            write = progress.add_task("Write", total=4)
            assert steps_of(job) == []
            progress.advance(download, 5)
            assert (job.progress.step, *stands(job)) == (1, 5, 10, 50)
            progress.update(download, completed=10)
            progress.update(read, advance=1, description="Read on")
            assert (job.progress.step, *stands(job), job.progress.description) == (2, 1, 4, 25, "Read on")
            progress.reset(read, total=8, completed=2)
            assert stands(job) == (2, 8, 25)
            progress.remove_task(read)
            progress.advance(write, 4)
        steps = steps_of(job)
    assert steps == [
        ("Download", StepState.SUCCEEDED),
        ("Read", StepState.CANCELLED),
        ("Write", StepState.SUCCEEDED),
    ]


@pytest.mark.parametrize("disable", [False, True])
def test_a_loop_of_rich_counts(kit: Kit, console: Console, disable: bool) -> None:
    with kit.observe("job") as job, capture():
        for _ in rich.progress.track(range(4), "Loop", console=console, auto_refresh=False, disable=disable):
            pass
        assert steps_of(job) == [("Loop", StepState.SUCCEEDED)]


def test_a_loop_of_rich_stops_when_its_job_is_cancelled(kit: Kit, console: Console) -> None:
    with pytest.raises(Cancelled), kit.observe("job", cancellable=True), capture():
        for row in rich.progress.track(range(10**7), console=console):
            if row == 5:
                kit.flush()
                kit.cancel("job")
    assert kit.get("job").state is State.CANCELLED  # type: ignore[union-attr]


def test_a_file_that_is_opened_with_rich_counts_bytes(kit: Kit, console: Console, tmp_path: Any) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    with (
        kit.observe("job") as job,
        capture(),
        rich.progress.Progress(console=console) as progress,
        progress.open(path, "rb", description="Load") as file,
    ):
        file.read(250)
        assert stands(job) == (250, 1000, 25)


def test_rich_outside_of_a_job_or_a_block_is_left_alone(kit: Kit, console: Console) -> None:
    with kit.observe("job") as job:
        assert [*rich.progress.track(range(3), console=console)] == [0, 1, 2]
        assert job.progress.steps is None
    with capture():
        assert [*rich.progress.track(range(3), console=console)] == [0, 1, 2]
