"""The classes of progresskit.tqdm: the bar as tqdm draws it, and the job that moves with it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from threading import Thread
from typing import Any

import pytest
import tqdm as peer
from tqdm.contrib.concurrent import process_map, thread_map

from progresskit import Cancelled, Kit, ProgressObserver, State, capture
from progresskit.tqdm import bound, tqdm, tqdm_asyncio, trange
from tests.services.forking import needs_fork


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


SHOWN: dict[str, dict[str, Any]] = {
    "on a terminal": {"file": Terminal()},
    "in a file": {"file": io.StringIO()},
    "without a terminal": {"file": io.StringIO(), "disable": None},
    "disabled": {"disable": True},
}
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"  # without times
EACH = pytest.mark.parametrize("options", SHOWN.values(), ids=SHOWN)


def stands(job: ProgressObserver) -> tuple[float, float | None, float | None]:
    progress = job.progress
    return progress.current, progress.total, progress.percent


@EACH
def test_a_loop_over_a_bar_counts_each_item(kit: Kit, options: dict[str, Any]) -> None:
    with kit.observe("job") as job:
        seen = [(row, *stands(job)) for row in tqdm(["a", "b", "c", "d"], **options)]
        after = stands(job)
    assert seen == [("a", 0, 4, 0), ("b", 1, 4, 25), ("c", 2, 4, 50), ("d", 3, 4, 75)]
    assert after == (4, 4, 99.99)


@EACH
def test_a_bar_that_is_updated_by_hand_counts_what_it_was_given(kit: Kit, options: dict[str, Any]) -> None:
    with kit.observe("job") as job:
        with tqdm(total=200, unit="B", desc="Download", **options) as bar:
            assert job.progress.description == "Download"
            bar.update(50)
            assert stands(job) == (50, 200, 25)
            bar.update(-20)
            assert stands(job) == (30, 200, 15)
            bar.update()
            assert (job.progress.current, job.progress.unit) == (31, "B")
            bar.total = 124
            assert stands(job) == (31, 124, 25)
            bar.total = 62
            bar.set_description("Verify")
            assert (*stands(job), job.progress.description) == (31, 62, 50, "Verify")
            bar.set_postfix(loss=0.25, name="x", step=3)
            assert job.progress.meta == {"loss": 0.25, "name": "x", "step": 3}
            bar.set_postfix_str("nearly there")
            assert job.progress.meta == {"postfix": "nearly there"}
            bar.reset(10)
            assert stands(job) == (0, 10, 0)
            bar.update(10)
        bar.close()
        assert stands(job) == (10, 10, 99.99)


@EACH
def test_a_bar_inside_of_a_bar_refines_its_item_and_bars_in_sequence_are_steps(
    kit: Kit, options: dict[str, Any]
) -> None:
    with kit.observe("job") as job:
        for shard in trange(4, desc="Shards", **options):
            for row in tqdm(range(10), desc="Rows", **options):
                if (shard, row) == (1, 5):
                    assert (job.progress.percent, job.progress.current) == (37.5, 1)
                    assert job.progress.description == "Shards"
        assert job.progress.step == 1
        for _ in tqdm(range(2), **options):
            assert (job.progress.step, job.progress.total) == (2, 2)
            break
        for _ in tqdm(iter("abc"), total=3, **options):
            assert (job.progress.step, job.progress.total) == (3, 3)


@EACH
def test_numbers_scaled_by_the_bar_are_scaled_in_the_job(kit: Kit, options: dict[str, Any]) -> None:
    with kit.observe("job") as job, tqdm(total=8, initial=2, unit_scale=512, **options) as bar:
        bar.update(2)
        assert stands(job) == (2048, 4096, 50)


@EACH
@pytest.mark.parametrize("by_hand", [True, False])
def test_a_cancellable_job_that_is_cancelled_leaves_the_bar(kit: Kit, options: dict[str, Any], by_hand: bool) -> None:
    options = options | {"mininterval": 0, "miniters": 1}
    items = 0
    with (
        pytest.raises(Cancelled),
        kit.observe("job", cancellable=True),
        tqdm(None if by_hand else range(10**7), total=10**7, **options) as bar,
    ):
        for _ in range(10**7) if by_hand else bar:
            items += 1
            if items == 5:
                kit.flush()
                kit.cancel("job")
            if by_hand:
                bar.update()
    assert kit.get("job").state is State.CANCELLED  # type: ignore[union-attr]


def test_what_the_terminal_shows_is_what_tqdm_shows(kit: Kit) -> None:
    def drawn(bars: Any) -> str:
        terminal = Terminal()
        options = {"file": terminal, "ncols": 60, "mininterval": 0, "miniters": 1, "bar_format": BAR}
        with bars(total=3, desc="a", **options) as bar:
            for row in range(3):
                bar.set_postfix(row=row)
                bar.update()
        for _ in bars(range(3), leave=False, ascii=True, **options):
            pass
        return terminal.getvalue()

    with kit.observe("job"):
        assert drawn(tqdm) == drawn(peer.tqdm)


def test_a_bar_outside_of_a_job_is_one_of_tqdm(kit: Kit) -> None:
    with tqdm(total=3, disable=True) as bar:
        bar.update(2)
    assert bar.n == 0
    assert [*tqdm("abc", file=io.StringIO())] == ["a", "b", "c"]
    assert isinstance(bar, peer.std.tqdm)


def test_a_bar_that_is_dropped_counts_no_more(kit: Kit) -> None:
    with kit.observe("job") as job:
        bar: Any = tqdm(total=10, disable=True)
        bar.update(4)
        del bar
        assert stands(job) == (4, 10, 40)
        for _ in tqdm(range(2), disable=True):
            assert job.progress.total == 2


def test_an_async_loop_and_tasks_that_are_gathered_count(kit: Kit) -> None:
    async def rows() -> AsyncIterator[int]:
        for row in range(4):
            yield row

    async def work() -> list[float]:
        async with kit.observe("job") as job:
            seen = [job.progress.current async for _ in tqdm_asyncio(rows(), total=4, file=io.StringIO())]
            await tqdm_asyncio.gather(*(asyncio.sleep(0) for _ in range(5)), file=io.StringIO())
            assert stands(job) == (5, 5, 99.99)
        return seen

    assert asyncio.run(work()) == [1, 2, 3, 4]  # tqdm counts an item of such a loop as it hands it out


def test_a_bound_class_reports_from_any_thread(kit: Kit) -> None:
    with kit.observe("job") as job:
        assert thread_map(str, range(8), tqdm_class=bound(job), max_workers=3, file=io.StringIO()) == [
            *map(str, range(8))
        ]
        assert stands(job) == (8, 8, 99.99)

        def download() -> None:
            with bound(job)(total=4, disable=True) as bar:
                bar.update(4)

        thread = Thread(target=download)
        thread.start()
        thread.join()
        assert stands(job) == (4, 4, 99.99)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_map_of_tqdm_over_processes_counts_results_as_they_come(kit: Kit) -> None:
    options: dict[str, Any] = {"max_workers": 2, "file": io.StringIO()}
    with kit.observe("job") as job:
        assert process_map(abs, range(0, -8, -1), tqdm_class=tqdm, **options) == [*range(8)]
        assert stands(job) == (8, 8, 99.99)
        with capture():
            assert process_map(abs, range(0, -5, -1), **options) == [*range(5)]
        assert stands(job) == (5, 5, 99.99)


def test_pandas_applies_with_progress(kit: Kit) -> None:
    import pandas

    tqdm.pandas(file=io.StringIO())
    with kit.observe("job") as job:
        frame = pandas.DataFrame({"a": range(10)})
        assert [*frame["a"].progress_apply(lambda value: value + 1)] == [*range(1, 11)]
        assert stands(job) == (10, 10, 99.99)


def test_a_loop_of_many_items_ends_exactly(kit: Kit) -> None:
    def items() -> Iterator[int]:
        yield from range(100_000)

    with kit.observe("job") as job:
        for _ in tqdm(items(), file=io.StringIO()):
            pass
        assert job.progress.current == 100_000
