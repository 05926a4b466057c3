"""
Never run: type checkers read it, and tell when what a user types is not typed as it should be.

Everything is written as a user would. Where a checker has to refuse something, the line says so, and strict mypy in
turn refuses a line that says so without need.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, assert_type
from uuid import UUID

import progresskit
from progresskit import (
    Backend,
    BackendUnavailable,
    Cancelled,
    Failure,
    Kit,
    MissingPackage,
    Observer,
    Progress,
    ProgressKitError,
    ProgressObserver,
    PublicError,
    State,
    Step,
    StepObserver,
    StepState,
    Subject,
    SupportsListing,
    SupportsPush,
    Version,
)
from progresskit.integrations import (
    Integration,
    PartIdentity,
    Run,
    RunObserver,
    current_run,
    owned_by,
    owner_of,
    part_headers,
    part_of,
)
from progresskit.observers import Logging, Terminal
from progresskit.pool import Initializer, ThreadPoolExecutor, initializer
from progresskit.testing import BackendContract, FakeClock, QueueContract, RecordingObserver, ShimContract
from progresskit.tqdm import bound, tqdm
from progresskit.web import (
    Request,
    Response,
    Server,
    Stream,
    Surface,
    Viewer,
    host_settings,
    mount_path,
    sign,
    wsgi_read,
)


class Row: ...


def configuring() -> None:
    progresskit.configure("redis://localhost/0")
    progresskit.configure("sqlite:////var/lib/progress.db", interval=0.5, lease=60, strict=True)
    progresskit.configure(secret_key=["new", "old"], authorize=lambda request, id, right: True)
    kit = Kit("memory://", ttl=3_600)
    kit.configure(backend=an_adapter())
    kit.close()


def an_adapter() -> Backend:
    raise NotImplementedError


# Workers.


def tracking(rows: list[Row], names: dict[str, int], lines: Iterable[str]) -> None:
    for row in progresskit.track(rows, id="import-42"):
        assert_type(row, Row)
    for name in progresskit.track(names, total=5, description="Reading", unit="names", meta={"a": 1}):
        assert_type(name, str)
    assert_type(progresskit.track(lines, cancellable=True, kind="import"), Iterator[str])
    progresskit.track(5)  # type: ignore[call-overload]
    progresskit.track(rows, "import-42")  # type: ignore[call-overload]


async def tracking_asynchronously(rows: AsyncIterable[Row]) -> None:
    async for row in progresskit.track(rows, id="import-42", total=100):
        assert_type(row, Row)
    assert_type(progresskit.track(rows), AsyncIterator[Row])


def observing(rows: list[Row]) -> None:
    with progresskit.observe("import-42", total=len(rows), description="Importing") as observer:
        assert_type(observer, ProgressObserver)
        for number, _ in enumerate(rows):
            observer.advance()
            observer.advance(2.5)
            observer.set_progress(number, len(rows), "reading")
            observer.set_progress(0.5)
            observer.check_cancelled()
        observer.update(description="Tidying up", meta={"skipped": 3}, total=None, unit="rows")
        assert_type(observer.cancel_requested, bool)
        assert_type(observer.dropped, int)
        assert_type(observer.id, str)
        assert_type(observer.progress, Progress)
    progresskit.observe().succeed(result={"rows": 5})
    progresskit.observe(kind="import", unit="B", meta={}, cancellable=True).fail(ValueError("no"))
    progresskit.observe().fail("no")
    assert_type(progresskit.current(), ProgressObserver)
    progresskit.current().advance("5")  # type: ignore[arg-type]
    progresskit.observe("import-42", 100)  # type: ignore[call-arg]


def observing_steps(names: Iterable[str], weights: dict[str, int], rows: list[Row]) -> None:
    progresskit.observe("import-42", steps=names)
    group: str = progresskit.group("album-42", size=10, unit="pictures")
    with progresskit.part(group, "chunk-7", total=100, weight=3) as part:
        part.advance()
    with progresskit.part(group, 7) as part, progresskit.observe("resize-7", part_of=group, weight=2):
        part.set_progress(1)
    with progresskit.observe("report-1", parts=8):
        pass
    progresskit.observe("report-1", parts="8")  # type: ignore[arg-type]
    progresskit.observe("import-42", steps=5)  # type: ignore[arg-type]
    with progresskit.observe("import-42", steps=weights) as job:
        with job.step("Download", total=200, unit="B") as step:
            assert_type(step, StepObserver)
            step.advance(3)
            step.set_progress(1, 2, "Reading")
            step.update(meta={"a": 1}, total=5)
            assert_type(step.step("inner"), StepObserver)
            assert_type(step.name, str)
        with progresskit.step("Parse"):
            for row in progresskit.track(rows):
                assert_type(row, Row)
        assert_type(job.progress.steps, tuple[Step, ...] | None)
        assert_type(job.progress.step, int | None)
        assert_type(Step("Parse").state, StepState)
    progresskit.step()  # type: ignore[call-arg]


def capturing() -> None:
    with progresskit.capture():
        pass
    with progresskit.observe() as job:
        assert_type(bound(job), type[tqdm])


def parallel(rows: list[Row]) -> None:
    with progresskit.observe() as job:
        assert_type(initializer(job), Initializer)
        with ProcessPoolExecutor(2, **initializer()) as processes:
            assert_type(processes.submit(len, rows), Future[int])
        with multiprocessing.Pool(2, **initializer()) as pool:
            pool.map(len, [rows])
        with ThreadPoolExecutor(2) as threads:
            assert_type(threads.submit(len, rows), Future[int])
            assert_type(threads.map(len, [rows]), Iterator[int])
            threads.submit(len, 1)  # type: ignore[arg-type]


async def observing_asynchronously() -> None:
    async with progresskit.observe("import-42") as observer:
        assert_type(observer, ProgressObserver)
    async with progresskit.step("Parse") as step:
        assert_type(step, StepObserver)


def as_context_managers() -> None:
    synchronous: AbstractContextManager[ProgressObserver] = progresskit.observe()
    asynchronous: AbstractAsyncContextManager[ProgressObserver] = progresskit.observe()
    del synchronous, asynchronous


async def ending(run: Run) -> None:
    await run.aend(State.SUCCEEDED, result={"rows": 5})
    await run.aend(State.RETRYING, next_retry_at=datetime.fromtimestamp(0, UTC))
    await run.aend("succeeded")  # type: ignore[arg-type]
    await run.aend_by(ValueError())


def integrating(headers: dict[str, str]) -> None:
    integration = Integration(Kit(), control_exceptions={StopIteration: State.RETRYING}, remove=lambda ids: ids[:1])
    integration.enqueued("task-1", kind="mail", owner=owner_of(headers))
    with integration.start("task-1", attempt=2, cancellable=True) as run:
        assert_type(run, Run)
        assert_type(run.job, RunObserver)
        run.succeed({"rows": 5})
    run.retry(datetime.fromtimestamp(0, UTC))
    run.fail("no")
    run.fail(5)  # type: ignore[arg-type]
    integration.start("task-1", attempt=integration.attempt_of("task-1", 2))
    integration.end_externally("task-1", State.FAILED, error=TimeoutError())
    integration.exit()
    integration.start("task-1", part=part_of(headers))
    assert_type(part_headers(PartIdentity("album-42", "task-1", weight=2)), dict[str, str])
    assert_type(current_run("task-1"), Run | None)
    assert_type(owned_by("ada"), dict[str, str])


# Viewers.


def viewing() -> None:
    assert_type(progresskit.get("import-42"), Progress | None)
    assert_type(progresskit.get_many(["a", "b"]), dict[str, Progress])
    assert_type(progresskit.get_many([1, UUID(int=1), "a"]), dict[str, Progress])
    progresskit.get(1.5)  # type: ignore[arg-type]
    assert_type(progresskit.watch("a", "b"), Iterator[Progress])
    assert_type(progresskit.cancel("import-42"), bool)
    assert_type(progresskit.end("import-42"), bool)
    assert_type(progresskit.forget("import-42"), bool)
    assert_type(progresskit.end(42, failed="The disk is full"), bool)
    assert_type(progresskit.list(kind="import", state="failed", limit=5), list[Progress])
    progresskit.list(state=State.RUNNING)
    progresskit.list(state=[State.RUNNING, "failed"])
    assert_type(progresskit.list(part_of=UUID(int=1)), list[Progress])
    progresskit.flush()
    progresskit.flush(5.0)
    progresskit.flush(timeout=None)


async def viewing_asynchronously() -> None:
    assert_type(await progresskit.aget("import-42"), Progress | None)
    assert_type(await progresskit.aget_many({"a", "b"}), dict[str, Progress])
    assert_type(await progresskit.acancel("import-42"), bool)
    assert_type(await progresskit.aforget("import-42"), bool)
    assert_type(await progresskit.aend("import-42", failed="The disk is full"), bool)
    async for progress in progresskit.awatch("a"):
        assert_type(progress, Progress)


def reading(progress: Progress) -> None:
    assert_type(progress.id, str)
    assert_type(progress.kind, str | None)
    assert_type(progress.state, State)
    assert_type(progress.state.final, bool)
    assert_type(progress.done, bool)
    assert_type(progress.current, int | float)
    assert_type(progress.total, int | float | None)
    assert_type(progress.percent, float | None)
    assert_type(progress.description, str | None)
    assert_type(progress.rate, float | None)
    assert_type(progress.eta, float | None)
    assert_type(progress.result, Any)
    assert_type(progress.error, Failure | None)
    assert_type(progress.attempt, int)
    assert_type(progress.version, Version)
    assert_type(progress.cursor, str)
    assert_type(progress.stalled, bool)
    assert_type(progress.cancel_requested, bool)
    assert_type(progress.created_at, datetime | None)
    assert_type(progress.to_dict(), dict[str, Any])
    assert_type(progress.to_json(), str)
    assert_type(progress.redacted(), Progress)
    if progress.state == "failed" and progress.error:
        assert_type(progress.error.message, str | None)
    progress.current = 5  # type: ignore[misc]


def changing(progress: Progress) -> None:
    progress.state = State.FAILED  # type: ignore[misc]
    progress.percent = 100  # type: ignore[misc]
    progress.description = "Reading"  # type: ignore[misc]
    progress.version = Version(1, 1, 1)  # type: ignore[misc]


def viewing_for_longer() -> None:
    with Kit().viewer("import-42", 42) as viewer:
        assert_type(viewer.get(timeout=1.0), dict[str, Progress])
        assert_type(viewer.closed, bool)


# Subjects and observers.


class Bar:
    def notify(self, progress: Progress) -> None: ...


class NoObserver:
    def notify(self, text: str) -> None: ...


def attaching(observer: ProgressObserver, received: list[Progress]) -> None:
    for subject in (observer, progresskit.subject("import-42")):
        detach = subject.attach(Bar())
        assert_type(detach, Callable[[], None])
        detach()
        subject.attach(received.append)
        subject.attach(lambda progress: print(progress.percent))
        subject.attach(NoObserver())  # type: ignore[arg-type]
    assert_type(seen_by(observer), Progress | None)
    assert_type(seen_by(progresskit.subject("import-42")), Progress | None)
    bar: Observer = Bar()
    progresskit.configure(
        "memory://", observers=[Terminal(), Logging("shop", 10), "shop.metrics:Gauge", received.append]
    )
    subject.attach(Terminal(sys.stderr))
    Logging(level="INFO")  # type: ignore[arg-type]
    del bar


def seen_by(subject: Subject) -> Progress | None:
    return subject.progress


# Errors.


def handling() -> None:
    try:
        progresskit.flush()
    except BackendUnavailable as error:
        raise PublicError("Try again later.") from error
    except MissingPackage as error:
        assert_type(error.name, str | None)
    except ProgressKitError:
        pass
    except Cancelled:
        raise


# What third parties build.


def capabilities(backend: Backend) -> None:
    if isinstance(backend, SupportsListing):
        assert_type(backend.list(kind=None, states=None, limit=5), list[Progress])
        backend.list(kind="mail", states=[State.FAILED], limit=5, part_of="album")
    if isinstance(backend, SupportsPush):
        backend.subscribe(lambda records: None, lambda: None).add(["a"])


async def a_shim(native: Any, headers: dict[str, str]) -> None:
    host_settings({"secret_key": "secret"})
    assert_type(mount_path("/progress"), str)
    surface = Surface()
    surface.check()
    read = wsgi_read({"wsgi.input": BytesIO()})
    request = Request("PUT", "KEY/", "", headers, Server.THREADS, native=native, peer="127.0.0.1", read=read)
    assert_type(surface.answer(request), Response)
    answer = await surface.aanswer(request)
    assert_type(answer.body, bytes | Stream)
    assert_type(surface.view(["a"]), Viewer)
    assert_type(sign(["a", "b"], "cancel", user=native), str)
    assert_type(sign("a", right="report"), str)
    Surface("memory://")  # type: ignore[arg-type]


def testing() -> None:
    clock = FakeClock()
    clock.advance(5)
    assert_type(clock(), float)
    observer: Observer = RecordingObserver()
    recorded = RecordingObserver()
    assert_type(recorded.wait_for(lambda progress: progress.done, timeout=5), Progress)
    assert_type(recorded.last, Progress | None)
    assert_type(recorded.states, list[State])
    Kit(clock=clock)
    del observer


class TestMine(BackendContract): ...


class TestShim(ShimContract): ...


class TestQueue(QueueContract):
    concurrencies = ("thread",)
