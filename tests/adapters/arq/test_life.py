"""What arq does to a job beside executing it: aborts, ends without a hook, shutdown, cron; and what a site has set."""

from __future__ import annotations

import asyncio
import io
import pickle
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from arq import Retry, cron, func
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job, SerializationError
from arq.worker import Worker, create_worker
from tqdm import tqdm

import progresskit_arq
from progresskit import Cancelled, Kit, Progress, State
from progresskit.errors import ConfigurationError
from progresskit.integrations import current_run
from progresskit_arq import JobCancelled, owned_by
from tests.services import server
from tests.services.waiting import PATIENCE

# arq is made for redis-py 5, and calls newer ones as it calls that.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:arq"), pytest.mark.timeout(120)]


class Site:
    """A queue of arq, its kit, and workers in this process that end when the queue is empty."""

    def __init__(self, pool: ArqRedis, kit: Kit, redis: RedisSettings) -> None:
        self.pool, self.kit, self.redis = pool, kit, redis

    def worker(self, *functions: Any, options: dict[str, Any] | None = None, **settings: Any) -> Worker:
        given: dict[str, Any] = {
            "functions": functions,
            "redis_settings": self.redis,
            "burst": True,
            "poll_delay": 0.01,
            "handle_signals": False,
            **settings,
        }
        progresskit_arq.install(given, kit=self.kit, **(options or {}))
        return create_worker(given)

    async def work(self, *functions: Any, **settings: Any) -> None:
        """Have all that waits executed."""
        worker = self.worker(*functions, **settings)
        await worker.async_run()
        await worker.close()

    async def send(self, name: str, *args: Any, **options: Any) -> str:
        job = await self.pool.enqueue_job(name, *args, **options)
        assert job is not None
        return str(job.job_id)

    async def get(self, id: str) -> Progress:
        await asyncio.to_thread(self.kit.flush, PATIENCE)
        progress = self.kit.get(id)
        assert progress is not None
        return progress

    async def until(self, id: str, seen: Callable[[Progress], object]) -> Progress:
        async for progress in self.kit.awatch(id):
            if seen(progress):
                return progress
        raise AssertionError(self.kit.get(id))


@pytest.fixture
async def site(needs: Callable[[str], None]) -> AsyncIterator[Site]:
    needs("redis")
    redis = RedisSettings.from_dsn(server("redis").fresh())
    kit = Kit("memory://", flush_seconds=PATIENCE)
    pool = await progresskit_arq.create_pool(redis, kit=kit)
    yield Site(pool, kit, redis)
    await pool.aclose()
    kit.close()


async def nothing(ctx: dict[str, Any]) -> None:
    pass


async def bad(ctx: dict[str, Any]) -> None:
    raise OSError("the disk is full")


async def again(ctx: dict[str, Any]) -> None:
    raise Retry(0.01)


async def forever(ctx: dict[str, Any]) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("keep_result", [3600, 0])
async def test_a_running_job_that_is_aborted_is_cancelled_and_one_that_is_late_failed(
    site: Site, keep_result: int
) -> None:
    job = Job(await site.send("forever"), site.pool)
    worker = site.worker(forever, allow_abort_jobs=True, keep_result=keep_result)
    working = asyncio.create_task(worker.async_run())
    await site.until(job.job_id, lambda progress: progress.state is State.RUNNING)
    await job.abort(timeout=PATIENCE, poll_delay=0.01)
    await working
    await worker.close()
    assert (await site.get(job.job_id)).state is State.CANCELLED

    id = await site.send("late")
    await site.work(func(forever, name="late", timeout=0.05), keep_result=keep_result)
    end = await site.get(id)
    assert end.error is not None
    assert (end.state, end.error.type) == (State.FAILED, "TimeoutError")


async def test_a_job_that_ends_before_its_function_is_called_has_ended(site: Site) -> None:
    aborted, unknown = await site.send("nothing"), await site.send("unknown")
    expired = await site.send("nothing", _expires=0.001)
    with pytest.raises(TimeoutError):
        await Job(aborted, site.pool).abort(timeout=0)
    assert (await site.get(aborted)).state is State.PENDING
    await site.work(nothing, allow_abort_jobs=True, keep_result=0)
    ends = [await site.get(id) for id in (aborted, unknown, expired)]
    assert [(end.state, end.attempt, end.kind) for end in ends] == [
        (State.CANCELLED, 1, "nothing"), (State.FAILED, 1, "unknown"), (State.FAILED, 1, "nothing")
    ]  # fmt: skip
    assert ends[1].error == ("JobExecutionFailed", "function 'unknown' not found", False)


async def test_a_job_that_is_tried_too_often_fails_with_its_last_attempt(site: Site) -> None:
    id = await site.send("again")
    await site.work(again, max_tries=2)
    end = await site.get(id)
    assert (end.state, end.attempt, end.version.run) == (State.FAILED, 2, 1)
    assert end.error == ("JobExecutionFailed", "max 2 retries exceeded", False)


@pytest.mark.parametrize("keep_result", [3600, 0])
async def test_a_worker_that_does_not_try_again_fails_what_asks_for_it(site: Site, keep_result: int) -> None:
    id = await site.send("again")
    await site.work(again, retry_jobs=False, keep_result=keep_result)
    end = await site.get(id)
    assert end.error is not None
    assert (end.state, end.error.type) == (State.FAILED, "Retry")


async def test_a_job_of_a_worker_that_shuts_down_is_retried(site: Site) -> None:
    id = await site.send("forever")
    # It looks for jobs once: redis-py may swallow that it is cancelled, and then it would take the job again.
    worker = site.worker(forever, handle_signals=True, poll_delay=PATIENCE)
    working = asyncio.create_task(worker.async_run())
    await site.until(id, lambda progress: progress.state is State.RUNNING)
    worker.handle_sig(signal.SIGTERM)
    while not working.done():  # the same while it counts the jobs that wait
        working.cancel()
        await asyncio.wait({working}, timeout=0.1)
    await worker.close()
    assert (await site.get(id)).state is State.RETRYING
    await site.work(func(nothing, name="forever"))
    end = await site.get(id)
    assert (end.state, end.attempt, end.version.run) == (State.SUCCEEDED, 2, 1)


async def test_an_error_that_ends_the_worker_leaves_the_job_to_the_next_one(site: Site) -> None:
    class Fatal(BaseException):
        pass

    async def fatal(ctx: dict[str, Any]) -> None:
        raise Fatal

    id = await site.send("fatal")
    worker = site.worker(func(fatal, name="fatal"))
    with pytest.raises(Fatal):
        await worker.async_run()
    await worker.close()
    assert (await site.get(id)).state is State.RUNNING
    await site.pool.delete(f"arq:in-progress:{id}")  # it is there for `job_timeout` and ten seconds
    await site.work(func(nothing, name="fatal"))
    assert (await site.get(id)).state is State.SUCCEEDED


async def test_cancelled_is_a_failure_for_arq_and_its_worker_goes_on(site: Site) -> None:
    async def stop(ctx: dict[str, Any]) -> None:
        raise Cancelled

    first, second = await site.send("stop"), await site.send("nothing")
    await site.work(func(stop, name="stop"), nothing)
    assert [(await site.get(id)).state for id in (first, second)] == [State.CANCELLED, State.SUCCEEDED]
    with pytest.raises(JobCancelled):
        await Job(first, site.pool).result()


async def test_the_setting_terminate_aborts_a_running_job_and_removes_a_waiting_one(site: Site) -> None:
    site.kit.host_settings({"terminate": True})
    running = await site.send("forever")
    worker = site.worker(forever, allow_abort_jobs=True)
    working = asyncio.create_task(worker.async_run())
    await site.until(running, lambda progress: progress.state is State.RUNNING)
    waiting = await site.send("forever", _defer_by=3600)
    await site.until(waiting, lambda progress: progress.state is State.PENDING)
    for id in (running, waiting):
        assert site.kit.cancel(id)
        assert (await site.until(id, lambda progress: progress.done)).state is State.CANCELLED
    await working
    await worker.close()
    assert await site.pool.zcard("arq:queue") == 0


@pytest.mark.parametrize("where", ["function", "install"])
async def test_what_must_not_be_interrupted_is_not(site: Site, where: str) -> None:
    async def pay(ctx: dict[str, Any]) -> None:
        site.kit.flush(PATIENCE)
        assert await site.kit.acancel(ctx["job_id"])
        job = site.kit.current()
        while not job.cancel_requested:
            job.advance(0)
            await asyncio.sleep(0.001)
        job.advance()

    if where == "function":
        pay.progress_cancellable = False  # type: ignore[attr-defined]
    id = await site.send("pay")
    await site.work(func(pay, name="pay"), options={} if where == "function" else {"cancellable": False})
    assert (await site.get(id)).state is State.SUCCEEDED


async def test_a_cron_job_is_a_job_of_its_own_each_time(site: Site) -> None:
    ids: list[str] = []

    async def report(ctx: dict[str, Any]) -> None:
        ids.append(ctx["job_id"])
        site.kit.current().set_progress(3, 3)

    await site.work(cron_jobs=[cron(report, name="cron:report", run_at_startup=True)], max_burst_jobs=1)
    (id,) = ids
    end = await site.get(id)
    assert (end.id, end.kind, end.state, end.current) == (id, "cron:report", State.SUCCEEDED, 3)


async def test_a_job_that_is_sent_by_another_one_belongs_to_the_same_owner(site: Site) -> None:
    async def outer(ctx: dict[str, Any]) -> None:
        await ctx["redis"].enqueue_job("nothing", _job_id="inner", _defer_by=3600)

    id = await site.send("outer", **owned_by("ada"))
    await site.work(func(outer, name="outer"), nothing, max_burst_jobs=1)
    inner = await site.get("inner")
    assert (inner.state, inner.owner, inner.kind) == (State.PENDING, "ada", "nothing")
    assert (await site.get(id)).owner == "ada"
    assert await site.pool.enqueue_job("nothing", _job_id="inner") is None, "it is there already"


async def test_bars_count_for_the_job_where_they_are_captured(site: Site) -> None:
    async def draw(ctx: dict[str, Any]) -> None:
        for _ in tqdm(range(7), file=io.StringIO()):
            pass

    for options, current in (({"capture": True}, 7), ({}, 0)):
        id = await site.send("draw")
        await site.work(func(draw, name="draw"), options=options)
        assert (await site.get(id)).current == current


async def test_hooks_names_and_the_serializer_of_a_site_are_used_as_before(site: Site) -> None:
    called: list[str] = []

    def hook(name: str) -> Any:
        async def call(ctx: dict[str, Any]) -> None:
            called.append(name)
            assert current_run() is None

        return call

    def serialize(data: dict[str, Any]) -> bytes:
        called.append("serialize")
        return pickle.dumps(data)

    names = ("on_startup", "on_job_start", "on_job_end", "after_job_end", "on_shutdown")
    good, failed = await site.send("good"), await site.send("bad")
    await site.work(
        func(nothing, name="good"),
        bad,
        job_serializer=serialize,
        max_jobs=1,
        **{name: hook(name) for name in names},
    )
    assert called == ["on_startup", *["on_job_start", "serialize", "on_job_end", "after_job_end"] * 2, "on_shutdown"]
    assert [(await site.get(id)).state for id in (good, failed)] == [State.SUCCEEDED, State.FAILED]


async def test_functions_that_are_named_are_imported_when_a_worker_is_made(site: Site) -> None:
    class WorkerSettings:
        functions = ("arq.utils.poll", f"{__name__}.missing")
        redis_settings = site.redis

    progresskit_arq.install(WorkerSettings, kit=site.kit)
    with pytest.raises(ConfigurationError, match="already"):
        progresskit_arq.install(WorkerSettings, kit=site.kit)
    with pytest.raises(RuntimeError, match="is not a coroutine function"):
        create_worker(WorkerSettings)


async def test_a_worker_with_wrong_settings_does_not_start(site: Site) -> None:
    kit = Kit()
    kit.host_settings({"url": "redsi://localhost/0"}, check=False)
    settings: dict[str, Any] = {"functions": [nothing], "redis_settings": site.redis, "handle_signals": False}
    progresskit_arq.install(settings, kit=kit)
    worker = create_worker(settings)
    with pytest.raises(ConfigurationError, match="did you mean redis://"):
        await worker.async_run()
    await worker.close()


async def test_a_job_whose_result_arq_cannot_store_has_failed(site: Site) -> None:
    async def unpicklable(ctx: dict[str, Any]) -> Any:
        return lambda: None

    id = await site.send("unpicklable")
    await site.work(func(unpicklable, name="unpicklable"))
    end = await site.get(id)
    assert end.error is not None
    assert (end.state, end.error.message) == (State.FAILED, "unable to serialize result")
    with pytest.raises(SerializationError, match="unable"):
        await Job(id, site.pool).result()
