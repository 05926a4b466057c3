"""How coroutines call a backend that blocks: in threads of the kit's own, and many reads at once as few."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from typing import Any

import pytest

from progresskit import BackendUnavailable, Kit, Progress
from progresskit.executor import BATCH, COUNT
from progresskit.memory import MemoryBackend
from progresskit.observer import job_of
from progresskit.testing import start

PATIENCE = 60.0


class SlowBackend(MemoryBackend):
    """Reads when it is allowed to, and remembers what was read in which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.reads: list[tuple[str, frozenset[str]]] = []
        self.error: Exception | None = None
        self.entered = threading.Semaphore(0)

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        self.reads.append((threading.current_thread().name, frozenset(ids)))
        self.entered.release()
        assert self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return super().read(ids)


@pytest.fixture
def backend() -> SlowBackend:
    return SlowBackend()


@pytest.fixture
def kit(backend: SlowBackend, make_kit: Callable[..., Kit]) -> Kit:
    return make_kit(backend=backend)


async def blocked(backend: SlowBackend, kit: Kit, count: int = COUNT) -> list[asyncio.Task[Any]]:
    """Have so many reads be under way."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(kit.aget(f"first-{number}")))
        await asyncio.to_thread(backend.entered.acquire)
    return tasks


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("progresskit-call")}


def test_reads_that_wait_for_a_thread_are_made_together_and_each_gets_its_own(backend: SlowBackend, kit: Kit) -> None:
    backend.write([start(f"job-{number}", current=number) for number in range(0, 300, 2)])

    async def main() -> Any:
        first = await blocked(backend, kit)
        many = [asyncio.create_task(kit.aget_many([f"job-{n}", f"job-{n + 1}"])) for n in range(299)]
        await asyncio.sleep(0)
        backend.open.set()
        await asyncio.gather(*first)
        return await asyncio.gather(*many)

    for number, found in enumerate(asyncio.run(main())):
        even = number + number % 2
        assert {id: progress.current for id, progress in found.items()} == ({f"job-{even}": even} if even < 300 else {})
    assert len(backend.reads) == COUNT + 1, "one read for all that waited"


def test_a_read_that_is_large_enough_is_not_joined(backend: SlowBackend, kit: Kit) -> None:
    async def main() -> None:
        first = await blocked(backend, kit)
        many = [asyncio.create_task(kit.aget_many([f"job-{n}-{m}" for m in range(100)])) for n in range(BATCH // 50)]
        await asyncio.sleep(0)
        backend.open.set()
        await asyncio.gather(*first, *many)

    asyncio.run(main())
    assert [len(ids) for _, ids in backend.reads[COUNT:]] == [BATCH, BATCH]


def test_the_threads_of_the_event_loop_are_left_to_the_site(backend: SlowBackend, kit: Kit) -> None:
    async def main() -> None:
        waiting = [asyncio.create_task(kit.aget(f"job-{number}")) for number in range(100)]
        waiting += await blocked(backend, kit, 1)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), PATIENCE) == 5
        backend.open.set()
        await asyncio.gather(*waiting)

    asyncio.run(main())
    assert {name.startswith("progresskit-call") for name, _ in backend.reads} == {True}


def test_who_does_not_wait_any_more_harms_none_of_the_others(backend: SlowBackend, kit: Kit) -> None:
    backend.write([start("job")])

    async def main() -> Progress | None:
        first = await blocked(backend, kit)
        tasks = [asyncio.create_task(kit.aget("job")) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[:9]:
            task.cancel()
        await asyncio.wait(tasks[:9])
        backend.open.set()
        await asyncio.gather(*first)
        return await tasks[9]

    found = asyncio.run(main())
    assert found is not None
    assert found.id == "job"


def test_an_error_reaches_all_who_asked_and_the_next_read_works(backend: SlowBackend, kit: Kit) -> None:
    backend.write([start("job")])
    backend.error = BackendUnavailable("away")

    async def main() -> list[Any]:
        first = await blocked(backend, kit)
        tasks = [asyncio.create_task(kit.aget("job")) for _ in range(10)]
        await asyncio.sleep(0)
        backend.open.set()
        problems = await asyncio.gather(*first, *tasks, return_exceptions=True)
        backend.error = None
        return [*problems, await kit.aget("job")]

    *problems, found = asyncio.run(main())
    assert [type(problem) for problem in problems] == [BackendUnavailable] * (COUNT + 10)
    assert found.id == "job"


def test_event_loops_of_several_threads_share_a_read(backend: SlowBackend, kit: Kit) -> None:
    backend.write([start("job")])
    found: list[Any] = []

    async def wait() -> None:
        found.append(await kit.aget("job"))

    loops = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(20)]

    async def main() -> None:
        first = await blocked(backend, kit)
        for loop in loops:
            loop.start()
        backend.open.set()
        await asyncio.gather(*first)

    asyncio.run(main())
    for loop in loops:
        loop.join(PATIENCE)
    assert [progress.id for progress in found] == ["job"] * 20


def test_a_loop_that_is_closed_meanwhile_takes_nobody_along(
    backend: SlowBackend, kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    backend.write([start("job")])

    async def leave() -> None:
        await blocked(backend, kit, 1)

    asyncio.run(leave())
    backend.open.set()
    found = asyncio.run(kit.aget("job"))
    assert found is not None
    assert caplog.records == []


def test_the_threads_end_with_the_kit_and_there_are_none_before_they_are_needed(backend: SlowBackend, kit: Kit) -> None:
    backend.open.set()
    before = ours()
    kit.get("job")
    assert asyncio.run(kit.aget_many([])) == {}
    assert ours() <= before
    for _ in range(2):
        assert asyncio.run(kit.aget("job")) is None
        started = ours() - before
        assert 1 <= len(started) <= COUNT
        kit.close()
        for thread in started:
            thread.join(PATIENCE)
        assert ours() <= before


def test_what_is_under_way_when_the_kit_is_closed_still_answers(backend: SlowBackend, kit: Kit) -> None:
    backend.write([start("job")])

    async def main() -> Progress | None:
        task = asyncio.create_task(kit.aget("job"))
        await asyncio.to_thread(backend.entered.acquire)
        kit.close()
        backend.open.set()
        return await task

    assert asyncio.run(main()) is not None


def test_a_kit_that_is_being_closed_keeps_nobody_waiting(make_kit: Callable[..., Kit]) -> None:
    class Hanging(MemoryBackend):
        def write(self, batch: Any) -> dict[str, int]:
            hanging.set()
            assert over.wait(PATIENCE)
            return super().write(batch)

    hanging, over = threading.Event(), threading.Event()
    backend = Hanging()
    kit = make_kit(backend=backend, flush_seconds=PATIENCE)
    job = kit.observe("job")
    assert hanging.wait(PATIENCE)
    closing = threading.Thread(target=kit.close)
    closing.start()
    answered = threading.Thread(target=lambda: (kit.get("job"), kit.current(), kit.settings))
    answered.start()
    answered.join(PATIENCE / 2)
    assert not answered.is_alive()
    assert closing.is_alive(), "it waits for what the job has reported"
    over.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    job_of(job).detach()
