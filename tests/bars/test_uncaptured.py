"""What `capture()` does not see is drawn as before: no error comes of it, no job counts it, and no hook is left."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from threading import Barrier, Thread
from typing import Any

import pytest
import rich.progress
from alive_progress import alive_bar  # type: ignore[import-untyped,unused-ignore]
from rich.console import Console
from tqdm.std import tqdm

from progresskit import Kit, capture
from tests.services.forking import Child, needs_fork

from .test_capture import patched
from .test_tqdm import stands


class OwnCount(tqdm):  # type: ignore[misc,unused-ignore]
    """Counts for itself: its methods call none of tqdm's."""

    def __init__(self, total: int) -> None:
        self.mine, self.most = 0, total

    def __iter__(self) -> Iterator[int]:
        for item in range(self.most):
            self.mine = item
            yield item

    def __len__(self) -> int:
        return self.most

    def update(self, n: float | None = 1) -> None:
        self.mine += int(n or 0)

    def refresh(self, *args: Any, **kwargs: Any) -> None:
        print(self.mine, file=io.StringIO())

    def close(self) -> None:
        self.refresh()

    def __del__(self) -> None:
        """Leave tqdm's, which would ask for what is not there."""


class OwnUpdate(tqdm):  # type: ignore[misc,unused-ignore]
    """Counts for itself in `update` only."""

    mine = 0

    def update(self, n: float | None = 1) -> None:
        self.mine += int(n or 0)


def draw() -> None:
    with tqdm(total=10, file=io.StringIO(), mininterval=0) as bar:
        bar.update(4)
        bar.update()
    for _ in rich.progress.track(range(3), console=Console(file=io.StringIO()), auto_refresh=False):
        pass


def by_a_class_of_its_own() -> None:
    bar = OwnCount(10)
    bar.update(4)
    bar.refresh()
    assert [*bar] == [*range(10)]
    bar.close()


def in_another_context() -> None:
    Context().run(draw)


def in_a_thread() -> None:
    thread = Thread(target=draw)
    thread.start()
    thread.join()


def in_an_executor() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, draw)

    asyncio.run(main())


def in_a_subprocess() -> None:
    code = "from tqdm import tqdm\nfor _ in tqdm(range(10)): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "10/10" in done.stderr


def by_another_library() -> None:
    with alive_bar(10, file=io.StringIO(), force_tty=False, enrich_print=False) as bar:
        bar(4)


ESCAPES = (
    by_a_class_of_its_own,
    in_another_context,
    in_a_thread,
    in_an_executor,
    in_a_subprocess,
    by_another_library,
)


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.__name__)
def test_what_is_not_captured_counts_for_no_job_and_harms_none(kit: Kit, escape: Callable[[], None]) -> None:
    both, before = Barrier(2), patched()

    def work(id: str) -> list[Any]:
        with kit.observe(id, cancellable=True) as job, capture():
            both.wait(60)
            escape()
            unseen = stands(job)
            with tqdm(total=8, file=io.StringIO(), mininterval=0) as bar:
                bar.update(3)
                escape()
                both.wait(60)
                return [unseen, stands(job)]

    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(work, id) for id in ("one", "two")]
        assert [job.result() for job in jobs] == [[(0, None, None), (3, 8, 37.5)]] * 2
    assert patched() == before
    assert not any(job.exception() for job in jobs)


def test_a_bar_that_keeps_its_own_count_stands_still_in_the_job(kit: Kit) -> None:
    with kit.observe("job") as job, capture():
        with OwnUpdate(total=10, file=io.StringIO()) as bar:
            bar.update(4)
            assert (bar.mine, *stands(job)) == (4, 0, 10, 0)
        for _ in tqdm(range(3), file=io.StringIO()):
            pass
        assert stands(job) == (3, 3, 99.99)


@needs_fork
def test_a_forked_child_draws_on_and_counts_nothing(kit: Kit) -> None:
    with kit.observe("job") as job, capture():
        with tqdm(total=10, file=io.StringIO(), mininterval=0) as bar:
            bar.update(2)

            def act() -> None:
                bar.update(5)
                bar.close()
                draw()

            assert Child(act).succeeds()
            assert stands(job) == (2, 10, 20)
        assert stands(job) == (2, 10, 20)
    assert kit.get("job").current == 2  # type: ignore[union-attr]


def test_bars_that_outlive_all_blocks_are_drawn_on_without_hooks(kit: Kit) -> None:
    before = patched()
    with kit.observe("job"), capture():
        loop = iter(tqdm(range(10), file=io.StringIO()))
        next(loop)
        progress = rich.progress.Progress(console=Console(file=io.StringIO()), auto_refresh=False)
        task = progress.add_task("Task", total=4)
        progress.advance(task)
    assert patched() == before
    assert [*loop] == [*range(1, 10)]
    progress.advance(task, 3)
    progress.remove_task(task)
    progress.stop()
    assert kit.get("job").done  # type: ignore[union-attr]
