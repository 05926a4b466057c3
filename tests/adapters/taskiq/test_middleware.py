"""What Taskiq's middleware does beyond the contract of queues: other middleware, requeues, inline tasks, settings."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from taskiq import Context, InMemoryBroker, ScheduleSource, TaskiqDepends, TaskiqMiddleware
from taskiq.exceptions import NoResultError, SendTaskError
from taskiq.middlewares import SimpleRetryMiddleware, SmartRetryMiddleware
from tqdm import tqdm

from progresskit import Cancelled, Kit, Progress, State
from progresskit.errors import ConfigurationError
from progresskit.integrations import current_run
from progresskit_taskiq import ProgressMiddleware, owned_by
from tests.services.waiting import PATIENCE


class Site:
    """A broker in memory and its kit."""

    def __init__(self, *middlewares: TaskiqMiddleware, inplace: bool = False, **options: Any) -> None:
        self.kit = Kit("memory://", flush_seconds=PATIENCE)
        self.broker = InMemoryBroker(await_inplace=inplace)
        self.broker.add_middlewares(ProgressMiddleware(kit=self.kit, **options), *middlewares)

    def task(self, function: Callable[..., Any], **labels: Any) -> Any:
        return self.broker.task(task_name=function.__name__, **labels)(function)

    async def send(self, task: Any, *args: Any, **labels: Any) -> str:
        return str((await task.kicker().with_labels(**labels).kiq(*args)).task_id)

    async def get(self, id: str) -> Progress:
        await asyncio.to_thread(self.kit.flush, PATIENCE)
        progress = self.kit.get(id)
        assert progress is not None
        return progress

    async def end(self, task: Any, *args: Any, **labels: Any) -> Progress:
        """Have a task executed; return how its job has ended."""
        return await self.ended(await self.send(task, *args, **labels))

    async def ended(self, id: str) -> Progress:
        """Wait for the end of a job that was sent."""
        async for progress in self.kit.awatch(id):
            if progress.done:
                return progress
        raise AssertionError(await self.get(id))

    def close(self) -> None:
        self.broker.executor.shutdown()
        self.kit.close()


Make = Callable[..., Site]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    sites: list[Site] = []

    def make(*middlewares: TaskiqMiddleware, **options: Any) -> Site:
        sites.append(Site(*middlewares, **options))
        return sites[-1]

    yield make
    for site in sites:
        await site.broker.wait_all()
        site.close()


async def bad() -> None:
    raise OSError("the disk is full")


async def stop() -> None:
    raise Cancelled


@pytest.mark.parametrize("no_result_on_retry", [True, False])
async def test_a_task_is_tried_again_by_the_simple_middleware_and_fails_with_its_last_attempt(
    make: Make, no_result_on_retry: bool
) -> None:
    site = make(SimpleRetryMiddleware(default_retry_label=True, no_result_on_retry=no_result_on_retry))
    end = await site.end(site.task(bad))
    assert end.error is not None
    assert (end.state, end.attempt, end.version.run, end.error.type) == (State.FAILED, 3, 1, "OSError")


@pytest.mark.parametrize("no_result_on_retry", [True, False])
async def test_a_task_that_is_scheduled_to_be_tried_again_is_retrying(make: Make, no_result_on_retry: bool) -> None:
    class Schedule(ScheduleSource):
        async def get_schedules(self) -> list[Any]:
            return []

        async def add_schedule(self, schedule: Any) -> None:
            scheduled.append(schedule)

    scheduled: list[Any] = []
    smart = SmartRetryMiddleware(
        default_retry_label=True,
        default_delay=60,
        schedule_source=Schedule(),
        no_result_on_retry=no_result_on_retry,
    )
    site = make(smart)
    task = site.task(bad, max_retries=2)
    id = await site.send(task)
    await site.broker.wait_all()
    record = await site.get(id)
    assert record.next_retry_at is not None
    assert (record.state, record.attempt) == (State.RETRYING, 1)
    assert abs((record.next_retry_at - scheduled[0].time).total_seconds()) < PATIENCE
    await task.kicker().with_task_id(id).with_labels(**scheduled[0].labels).kiq()  # as the scheduler does it
    await site.broker.wait_all()
    end = await site.get(id)
    assert (end.state, end.attempt, end.version.run) == (State.FAILED, 2, 1)


@pytest.mark.parametrize("retry_first", [True, False])
async def test_cancelled_is_not_tried_again_wherever_the_middleware_stands(retry_first: bool) -> None:
    kit, broker = Kit("memory://", flush_seconds=PATIENCE), InMemoryBroker()
    both = [ProgressMiddleware(kit=kit), SimpleRetryMiddleware(default_retry_label=True)]
    broker.add_middlewares(*(reversed(both) if retry_first else both))
    task = broker.task(task_name="stop")(stop)
    sent: Any = await task.kiq()
    result = await sent.wait_result(timeout=PATIENCE)
    await broker.wait_all()
    record = kit.get(sent.task_id)
    assert record is not None
    assert (record.state, record.attempt, type(result.error)) == (State.CANCELLED, 1, Cancelled)
    broker.executor.shutdown()
    kit.close()


async def test_a_task_that_sends_itself_again_goes_on_in_the_same_record(make: Make) -> None:
    async def again(context: Any) -> None:
        if int(context.message.labels.get("X-Taskiq-requeue", 0)) < 2:
            await context.requeue()

    again.__annotations__["context"] = Context
    again.__defaults__ = (TaskiqDepends(),)
    end = await (site := make()).end(site.task(again))
    assert (end.state, end.attempt, end.version.run) == (State.SUCCEEDED, 3, 1)


async def test_a_task_without_a_result_has_succeeded(make: Make) -> None:
    async def silent() -> None:
        raise NoResultError

    site = make()
    assert (await site.end(site.task(silent))).state is State.SUCCEEDED


async def test_a_task_whose_result_cannot_be_stored_or_that_cannot_be_sent_again_has_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: Any) -> None:
        raise OSError("the store is away")

    async def good() -> int:
        monkeypatch.setattr(site.broker.result_backend, "set_result", refuse)
        return 1

    site = make(SimpleRetryMiddleware(default_retry_label=True))
    assert (await site.end(site.task(good))).state is State.SUCCEEDED

    async def cut_off() -> None:
        monkeypatch.setattr(site.broker, "kick", refuse)
        raise ValueError

    sent = await site.send(site.task(cut_off))
    with pytest.raises(SendTaskError):
        await site.broker.wait_all()
    end = await site.ended(sent)  # which Taskiq does not wait for
    assert end.error is not None
    assert (end.state, end.error.type, end.version.run) == (State.FAILED, "ValueError", 1)


async def test_tasks_that_are_executed_in_the_call_that_sends_them_are_children_and_leave_no_trace(make: Make) -> None:
    async def inner() -> None:
        site.kit.current().set_progress(1, 2)

    async def outer() -> None:
        ids.append(await site.send(inner_task))
        site.kit.current().set_progress(3, 3)

    ids: list[str] = []
    site = make(inplace=True)
    inner_task = site.task(inner)
    end = await site.end(site.task(outer), **owned_by("ada"))
    child = await site.get(ids[0])
    assert (end.current, child.current, child.parent, child.owner) == (3, 1, end.id, "ada")
    await site.end(site.task(bad))
    assert current_run() is None


async def test_a_task_that_is_sent_by_another_one_belongs_to_the_same_owner(make: Make) -> None:
    async def leaf() -> None:
        pass

    async def root() -> None:
        ids.append(await site.send(leaf_task))

    ids: list[str] = []
    site = make()
    leaf_task = site.task(leaf)
    assert (await site.end(site.task(root), **owned_by("ada"))).owner == "ada"
    await site.broker.wait_all()
    child = await site.get(ids[0])
    assert (child.owner, child.state, child.parent) == ("ada", State.SUCCEEDED, None)


@pytest.mark.parametrize("where", ["label", "middleware"])
async def test_what_must_not_be_interrupted_is_not(make: Make, where: str) -> None:
    def pay() -> None:
        job = site.kit.current()
        site.kit.flush(PATIENCE)
        assert site.kit.cancel(job.id)
        while not job.cancel_requested:
            job.advance(0)
        job.advance()

    site = make(**({"cancellable": False} if where == "middleware" else {}))
    labels = {"progress_cancellable": False} if where == "label" else {}
    assert (await site.end(site.task(pay, **labels))).state is State.SUCCEEDED


async def test_bars_count_for_the_job_where_they_are_captured(make: Make) -> None:
    def draw() -> None:
        for _ in tqdm(range(7), file=io.StringIO()):
            pass

    for capture, current in ((True, 7), (False, 0)):
        site = make(capture=capture)
        assert (await site.end(site.task(draw))).current == current


async def test_a_worker_with_wrong_settings_does_not_start(make: Make) -> None:
    kit, broker = Kit(), InMemoryBroker()
    kit.host_settings({"url": "redsi://localhost/0"}, check=False)
    broker.add_middlewares(ProgressMiddleware(kit=kit))
    broker.is_worker_process = True
    with pytest.raises(ConfigurationError, match="did you mean redis://"):
        await broker.startup()
    broker.executor.shutdown()
