"""What `progresskit_procrastinate.install` does beyond the contract of queues; a worker in this event loop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import procrastinate
import pytest
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Status
from procrastinate.testing import InMemoryConnector

from progresskit import Kit, Progress, State
from progresskit.errors import ConfigurationError, UnknownScheme
from progresskit.integrations import current_run
from progresskit_procrastinate import install, owned_by
from tests.services import missing, server
from tests.services.waiting import PATIENCE

SITE = Path(__file__).with_name("site.py")


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", flush_seconds=PATIENCE)
    yield kit
    kit.close()


@pytest.fixture
async def app(kit: Kit) -> AsyncIterator[procrastinate.App]:
    app = procrastinate.App(connector=InMemoryConnector())
    install(app, kit=kit)
    async with app.open_async():
        yield app


async def work(app: procrastinate.App, **options: Any) -> None:
    """Execute all jobs that wait, and those that wait for their next attempt."""
    await app.run_worker_async(wait=False, install_signal_handlers=False, **options)


@asynccontextmanager
async def worker(app: procrastinate.App) -> AsyncIterator[None]:
    """Run a worker meanwhile."""
    options: Any = {"install_signal_handlers": False, "fetch_job_polling_interval": 0.01}
    working = asyncio.create_task(app.run_worker_async(**options))
    try:
        yield
    finally:
        working.cancel()
        await asyncio.wait([working])


def status(app: procrastinate.App, id: int) -> str:
    connector: Any = app.connector
    return str(connector.jobs[id]["status"])


async def known(kit: Kit, id: int) -> Progress:
    await asyncio.to_thread(kit.flush, PATIENCE)
    progress = await kit.aget(id)
    assert progress is not None
    return progress


async def until(kit: Kit, id: int, holds: Callable[[Progress], object]) -> Progress:
    async with asyncio.timeout(PATIENCE):
        async for progress in kit.awatch(id):
            if holds(progress):
                return progress
    raise AssertionError(f"{id} is {progress.state}")


async def brief(kit: Kit, *ids: int) -> list[tuple[State, int, int]]:
    """Return the states, attempts and runs of jobs."""
    records = [await known(kit, id) for id in ids]
    return [(record.state, record.attempt, record.version.run) for record in records]


async def test_the_jobs_of_a_batch_wait_and_belong_to_the_owner_of_the_job_that_defers_them(
    kit: Kit, app: procrastinate.App
) -> None:
    owners: list[object] = []

    @app.task(retry=1, pass_context=True)
    async def second(context: Any, /, **arguments: Any) -> None:
        owners.append((kit.current().id, arguments, {**context.job.task_kwargs}))
        if len(owners) < 2:
            raise OSError

    @app.task
    async def first() -> None:
        await second.batch_defer_async({"n": 1}, {"n": 2, **owned_by("bob")})

    id = await first.configure(task_kwargs={**owned_by("ada")}).defer_async()
    waiting = await known(kit, id)
    assert (waiting.state, waiting.owner, waiting.kind) == (State.PENDING, "ada", first.name)
    await work(app)
    assert await brief(kit, id, id + 1, id + 2) == [
        (State.SUCCEEDED, 1, 1),
        (State.SUCCEEDED, 2, 1),
        (State.SUCCEEDED, 1, 1),
    ]
    assert [(await known(kit, id + n)).owner for n in range(3)] == ["ada", "ada", "bob"]
    assert owners[0] == (str(id + 1), {"n": 1}, {"n": 1}), "the task does not get the owner"
    assert current_run() is None


async def test_the_jobs_of_a_periodic_task_wait_like_others(kit: Kit, app: procrastinate.App) -> None:
    @app.periodic(cron="* * * * * *")
    @app.task
    async def tick(timestamp: int) -> None:
        kit.current().advance()

    async with worker(app):
        done = await until(kit, 1, lambda progress: progress.done)
    assert (done.state, done.kind, done.current) == (State.SUCCEEDED, tick.name, 1)


@pytest.mark.parametrize("kind", ["coroutine", "thread", "no reports"])
async def test_a_job_that_procrastinate_aborts_is_neither_failed_nor_tried_again(
    kit: Kit, app: procrastinate.App, kind: str
) -> None:
    @app.task(name="thread", retry=True)
    def report() -> None:
        while True:
            kit.current().advance()

    @app.task(name="coroutine", retry=True)
    async def report_in_loop() -> None:
        while True:
            kit.current().advance()
            await asyncio.sleep(0)

    @app.task(name="no reports", retry=True)
    async def sleep() -> None:
        await asyncio.Event().wait()

    id = await app.tasks[kind].defer_async()
    async with worker(app):
        await until(kit, id, lambda progress: progress.state is State.RUNNING)
        assert await app.job_manager.cancel_job_by_id_async(id, abort=True)
        await until(kit, id, lambda progress: progress.done)
    assert await brief(kit, id) == [(State.CANCELLED, 1, 1)]
    assert status(app, id) == "aborted"


async def test_a_coroutine_that_never_reports_is_aborted_where_cancelling_terminates(app: procrastinate.App) -> None:
    terminating = Kit("memory://", flush_seconds=PATIENCE, terminate=True)
    install(app, kit=terminating)

    @app.task(retry=True)
    async def sleep() -> None:
        await asyncio.Event().wait()

    id = await sleep.defer_async()
    async with worker(app):
        await until(terminating, id, lambda progress: progress.state is State.RUNNING)
        assert await terminating.acancel(id)
        await until(terminating, id, lambda progress: progress.done)
    assert status(app, id) == "aborted"
    terminating.close()


async def test_what_ends_outside_of_a_worker_ends(kit: Kit, app: procrastinate.App) -> None:
    @app.task
    def never() -> None:
        raise AssertionError

    cancelled, given_up = [await never.defer_async() for _ in range(2)]
    unknown = await app.configure_task("unknown").defer_async()
    assert await app.job_manager.cancel_job_by_id_async(cancelled)
    await app.job_manager.finish_job_by_id_async(given_up, Status.FAILED, delete_job=False)
    await work(app)
    assert await brief(kit, cancelled, given_up, unknown) == [
        (State.CANCELLED, 1, 1),
        (State.FAILED, 1, 1),
        (State.FAILED, 1, 1),
    ]


async def test_a_job_that_aborts_itself_is_cancelled_and_so_is_what_it_has_opened(
    kit: Kit, app: procrastinate.App
) -> None:
    @app.task(retry=True)
    def give_up() -> None:
        with kit.observe("inside"):
            raise JobAborted

    id = await give_up.defer_async()
    await work(app)
    assert await brief(kit, id) == [(State.CANCELLED, 1, 1)]
    inside = await kit.aget("inside")
    assert inside is not None
    assert inside.state is State.CANCELLED


async def test_what_must_not_be_interrupted_is_not(kit: Kit, app: procrastinate.App) -> None:
    def pay() -> None:
        kit.flush(PATIENCE)
        assert kit.cancel(kit.current().id)
        while not kit.current().cancel_requested:
            pass
        kit.current().advance()

    pay.progress_cancellable = False  # type: ignore[attr-defined]
    careful = await app.task(pay).defer_async()
    await work(app)
    del pay.progress_cancellable  # type: ignore[attr-defined]
    install(app, kit=kit, cancellable=False)
    all_are = await app.task(name="all")(pay).defer_async()
    await work(app)
    assert await brief(kit, careful, all_are) == [(State.SUCCEEDED, 1, 1)] * 2


async def test_the_end_of_a_job_does_not_wait_for_threads_that_other_tasks_keep(
    kit: Kit, app: procrastinate.App
) -> None:
    go = threading.Event()
    threads = 40  # more than the executor of an event loop has

    @app.task
    def busy() -> None:
        go.wait(PATIENCE)

    @app.task(priority=-1)
    async def last() -> None:
        pass

    try:
        await busy.batch_defer_async(*[{}] * threads)
        id = await last.defer_async()
        app.worker_defaults["concurrency"] = threads + 1
        async with worker(app):
            await until(kit, id, lambda progress: progress.state is State.SUCCEEDED)
            go.set()
    finally:
        go.set()


async def test_the_later_installation_counts_and_the_middleware_of_the_site_stays(
    kit: Kit, app: procrastinate.App
) -> None:
    other = Kit("memory://", flush_seconds=PATIENCE)
    install(app, kit=other)
    seen: list[str] = []

    def middleware(name: str) -> Any:
        async def call(call_next: Any, context: Any, worker: Any) -> Any:
            seen.append(f"{name} {other.current().id}")
            return await call_next()

        return call

    @app.task
    def five() -> int:
        return 5

    app.worker_defaults["worker_middleware"] = [middleware("default")]
    first = await five.defer_async()
    await work(app)
    second = await five.defer_async()
    await work(app, worker_middleware=[middleware("given")])
    assert await brief(other, first, second) == [(State.SUCCEEDED, 1, 1)] * 2
    assert seen == [f"default {first}", f"given {second}"]
    await asyncio.to_thread(kit.flush, PATIENCE)
    assert await kit.aget(first) is None
    other.close()


async def test_a_worker_with_wrong_settings_does_not_start(app: procrastinate.App) -> None:
    wrong = Kit()
    wrong.host_settings({"url": "redsi://localhost/0"}, check=False)
    install(app, kit=wrong)
    with pytest.raises(UnknownScheme, match="did you mean redis://"):
        await work(app)


async def test_a_web_process_removes_a_job_by_the_pool_of_its_own_loop(kit: Kit, missing_service: Any) -> None:
    if reason := missing("postgresql"):
        missing_service("postgresql", reason)
    address = server("postgresql").fresh().replace("+psycopg", "")
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=1))
    install(app, kit=kit)
    never = app.task(name="never")(lambda: None)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        ids = [await never.defer_async() for _ in range(3)]
        await asyncio.to_thread(kit.flush, PATIENCE)
        assert all(await asyncio.gather(*[kit.acancel(id) for id in ids]))
        for id in ids:
            await until(kit, id, lambda progress: progress.done)
            assert await app.job_manager.get_job_status_async(id) is Status.CANCELLED
    assert await brief(kit, *ids) == [(State.CANCELLED, 1, 1)] * 3


def test_a_site_of_django_needs_one_setting(missing_service: Any) -> None:
    if reason := missing("postgresql"):
        missing_service("postgresql", reason)
    address = server("postgresql").fresh()
    site = subprocess.run(
        [sys.executable, str(SITE), address], capture_output=True, text=True, timeout=300, check=False
    )
    assert not site.returncode, site.stderr
    assert json.loads(site.stdout) == {
        "rolled back": None,
        "in the transaction": None,
        "committed": "pending",
        "cancelled": ["cancelled", "cancelled"],
        "executed": ["succeeded", 3, "ada"],
    }


def test_the_proxy_of_django_is_refused_with_the_remedy() -> None:
    proxy: Any = object()
    with pytest.raises(ConfigurationError, match="PROCRASTINATE_ON_APP_READY"):
        install(proxy)
