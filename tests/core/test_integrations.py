"""What integrations of queues stand on: senders, workers, supervisors, removal from the queue, and owners."""

from __future__ import annotations

import ast
import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import progresskit
from progresskit import Cancelled, Kit, Progress, PublicError, State, Version
from progresskit.errors import BackendUnavailable, ConfigurationError, InvalidValue
from progresskit.integrations import (
    OWNER_HEADER,
    Integration,
    Run,
    RunObserver,
    current_run,
    fit_id,
    inherit_owner,
    owned_by,
    owner_of,
)
from progresskit.memory import MemoryBackend
from progresskit.progress import Role
from progresskit.testing import FakeClock
from tests.services.waiting import wait_until

from .doubles import FlakyBackend, wait_for_removals

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]
ADA = owned_by("ada")
INTERVAL = 0.1


@pytest.fixture(params=["memory", "sqlite"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    """Give a kit with threads, on each of two real stores."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/progress.db"
    kit = Kit(url, flush_seconds=60, lease=60)
    yield kit
    kit.close()


def known(kit: Kit, id: str) -> Progress:
    kit.flush(60)
    progress = kit.get(id)
    assert progress is not None
    return progress


# The life of a task.


def test_a_task_waits_runs_is_tried_again_and_ends(shared: Kit) -> None:
    integration = Integration(shared)
    integration.enqueued("task", kind="mail", owner="ada")
    waiting = known(shared, "task")
    with integration.start("task", kind="mail", owner="ada") as first:
        first.job.set_progress(3, 10)
        running = known(shared, "task")
        first.retry(datetime(2030, 1, 1, tzinfo=UTC))
    retrying = known(shared, "task")
    with integration.start("task", kind="mail", attempt=2, owner="ada") as second:
        again = known(shared, "task")
        second.succeed({"sent": 5})
    done = known(shared, "task")

    records = (waiting, running, retrying, again, done)
    assert [(record.state, record.attempt) for record in records] == [
        (State.PENDING, 1), (State.RUNNING, 1), (State.RETRYING, 1), (State.RUNNING, 2), (State.SUCCEEDED, 2)
    ]  # fmt: skip
    assert {(record.version.run, record.kind, record.owner) for record in records} == {(1, "mail", "ada")}
    assert (running.current, retrying.next_retry_at) == (3, datetime(2030, 1, 1, tzinfo=UTC))


def test_an_id_of_a_queue_that_is_no_id_of_a_job_is_hashed_everywhere(shared: Kit) -> None:
    integration, id = Integration(shared), "queue/task 1"
    integration.enqueued(id)
    assert known(shared, fit_id(id)).state is State.PENDING
    with integration.start(id) as run:
        assert current_run(id) is run
        assert run.id == run.job.id == fit_id(id)
        assert known(shared, run.id).state is State.RUNNING
        integration.end_externally(id, State.FAILED, error="lost")
        assert known(shared, run.id).state is State.FAILED


def test_a_worker_that_is_faster_than_its_sender_takes_precedence(shared: Kit) -> None:
    integration = Integration(shared)
    with integration.start("task"):
        integration.enqueued("task")
        assert known(shared, "task").state is State.RUNNING
    integration.enqueued("task")
    assert known(shared, "task").state is State.SUCCEEDED


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.RETRYING])
def test_a_supervisor_reports_ends_only(kit: Kit, state: State) -> None:
    with pytest.raises(InvalidValue, match=f"state must be final, not {state}"):
        Integration(kit).end_externally("task", state)


def test_what_a_supervisor_reports_changes_nothing_of_a_job_that_has_ended(shared: Kit) -> None:
    integration = Integration(shared)
    with integration.start("task"):
        pass
    integration.end_externally("task", State.FAILED, error="lost")
    assert known(shared, "task").state is State.SUCCEEDED


def test_what_a_queue_says_is_checked_at_once(kit: Kit) -> None:
    integration = Integration(kit)
    with pytest.raises(InvalidValue, match="kind"):
        integration.enqueued("task", kind=5)  # type: ignore[arg-type]
    for owner in ("", SimpleNamespace(is_authenticated=False)):
        with pytest.raises(InvalidValue, match="owner"):
            integration.enqueued("task", owner=owner)
        with pytest.raises(InvalidValue, match="owner"):
            integration.start("task", owner=owner)
    assert kit.publisher.step() is None


def test_a_process_that_only_sends_need_not_have_what_the_backend_needs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kit = Kit()
    monkeypatch.setenv("PROGRESSKIT_URL", "nosuch://host")
    integration = Integration(kit)
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            integration.enqueued(f"task-{n}")
    assert caplog.text.count("Tasks are not reported as waiting") == 1
    assert "nosuch" in caplog.text
    with pytest.raises(ConfigurationError):
        integration.check("a worker")
    with pytest.raises(ConfigurationError):
        integration.start("task")


# A run, and how it ends.


class Retry(Exception):
    """How a queue's task asks for another attempt."""


@pytest.mark.parametrize(("error", "state"), [
    (None, State.SUCCEEDED), (ValueError("no"), State.FAILED), (Cancelled(), State.CANCELLED),
    (Retry(), State.RETRYING), (asyncio.CancelledError(), State.CANCELLED), (SystemExit(), State.FAILED),
])  # fmt: skip
def test_a_run_ends_by_what_leaves_its_block(
    kit: Kit, step: Step, stored: Stored, error: BaseException | None, state: State
) -> None:
    def block() -> None:
        if error is not None:
            raise error

    async def asynchronously() -> None:
        async with integration.start("in-a-loop"):
            block()

    integration = Integration(kit, control_exceptions={Retry: State.RETRYING})
    raises = type(error) if error is not None else ()
    try:
        with integration.start("task"):
            block()
    except raises:
        pass
    try:
        asyncio.run(asynchronously())
    except raises:
        pass
    run = integration.start("by-hand")
    run.end_by(error)
    step()
    assert [stored(id).state for id in ("task", "in-a-loop", "by-hand")] == [state] * 3
    assert progresskit.current().id == "silent"


def test_the_first_end_counts(kit: Kit, step: Step, stored: Stored) -> None:
    integration = Integration(kit)
    with pytest.raises(ValueError, match="late"), integration.start("task") as run:
        run.cancel()
        run.succeed()
        run.retry()
        run.fail("no")
        raise ValueError("late")
    step()
    assert stored("task").state is State.CANCELLED


def test_of_an_error_only_the_type_is_shown_unless_it_is_public(kit: Kit, step: Step, stored: Stored) -> None:
    errors: dict[str, BaseException | str] = {
        "secret": ValueError("password=hunter2"),
        "text": "password=hunter2",
        "public": PublicError("No header"),
    }
    for id, error in errors.items():
        Integration(kit).start(id).fail(error)
        Integration(kit).end_externally(f"{id}-lost", State.FAILED, error=error)
    step()
    shown = {id: stored(id).redacted().to_dict()["error"] for id in (*errors, *(f"{id}-lost" for id in errors))}
    assert [error["message"] for error in shown.values()] == [None, None, "No header"] * 2
    assert stored("secret").error == ("ValueError", "password=hunter2", False)


@pytest.mark.parametrize("strict", [False, True])
def test_a_result_is_shown_where_the_site_exposes_results_and_json_can_hold_it(clock: FakeClock, strict: bool) -> None:
    for expose, result, shown in ((True, {"n": 1}, {"n": 1}), (False, {"n": 1}, None), (True, object(), None)):
        backend = FlakyBackend(clock)
        kit = Kit(backend=backend, clock=clock, threaded=False, expose_results=expose, strict=strict)
        Integration(kit).start("task").succeed(result)
        kit.publisher.step()
        record = backend.store.read(["task"])["task"]
        assert (record.state, record.result) == (State.SUCCEEDED, shown)


def test_the_code_of_a_task_cannot_end_its_job(kit: Kit, step: Step, stored: Stored) -> None:
    with Integration(kit).start("task") as run:
        for job in (run.job, kit.current(), kit.observe(), kit.observe("task")):
            with job:
                job.advance()
            job.succeed()
            job.fail("no")
        step(INTERVAL)
        assert (stored("task").state, stored("task").current) == (State.RUNNING, 4)


def test_an_observer_without_a_run_is_silent(kit: Kit, step: Step) -> None:
    observer = RunObserver(None)
    observer.set_progress(3, 10, "reading")
    assert observer.progress.current == 0
    observer.succeed()
    assert step() is None


def test_a_detached_run_leaves_the_end_to_a_supervisor(shared: Kit) -> None:
    integration = Integration(shared)
    with integration.start("task") as run:
        run.job.set_progress(3, 10)
        run.detach()
        progress = shared.get("task")
        assert progress is not None
        assert (progress.state, progress.current) == (State.RUNNING, 3), "and what it has reported is stored"
    assert known(shared, "task").state is State.RUNNING
    integration.end_externally("task", State.FAILED, error="time limit")
    assert (known(shared, "task").state, known(shared, "task").version.run) == (State.FAILED, 1)


def test_flushing_at_the_end_of_a_worker_raises_nothing(kit: Kit, backend: FlakyBackend) -> None:
    threaded = Kit(backend=backend, flush_seconds=0.05)
    backend.down = True
    integration = Integration(threaded)
    integration.enqueued("task")
    integration.flush()
    backend.down = False
    integration.close()
    assert backend.store.read(["task"])["task"].state is State.PENDING


# The surrounding run.


def test_a_run_is_found_where_it_was_entered_and_nowhere_else(kit: Kit) -> None:
    integration = Integration(kit)
    outer, inner = integration.start("outer"), integration.start("inner", inline=True)
    assert current_run() is None
    with outer:
        assert current_run() is current_run("outer") is outer
        with inner:
            assert (current_run(), current_run("outer"), current_run("other")) == (inner, outer, None)
            with kit.observe("child"):
                assert current_run() is inner
            outer.leave()
            assert (current_run(), current_run("outer")) == (inner, None)
            context = copy_context()
            assert context.run(current_run) is inner
        assert current_run() is None
    assert context.run(current_run) is None, "a copy of the context outlives the run"
    found: list[Run | None] = [inner]
    thread = threading.Thread(target=lambda: found.append(current_run()))
    thread.start()
    thread.join()
    assert found[1] is None


def test_hooks_may_leave_a_run_twice_or_in_another_context(kit: Kit) -> None:
    run = Integration(kit).start("task")
    run.leave()
    context = copy_context()
    context.run(run.enter)
    assert context.run(current_run) is run
    run.leave()
    run.leave()
    assert context.run(current_run) is None


def test_a_task_that_runs_inside_of_the_call_that_sends_it_is_a_child(kit: Kit, step: Step, stored: Stored) -> None:
    integration = Integration(kit)
    with kit.observe("request", owner="ada"):
        runs = [
            integration.start("inline", inline=True),
            integration.start("bobs", inline=True, owner="bob"),
            integration.start("worker"),
        ]
        step(INTERVAL)
        records = [stored(run.id) for run in runs]
    assert [(record.parent, record.owner) for record in records] == [
        ("request", "ada"), ("request", "bob"), (None, None)
    ]  # fmt: skip
    for run in runs:
        run.cancel()


# Cancelling tasks that wait.


class Removed:
    """What a queue was asked to remove."""

    def __init__(self, answer: Any = None) -> None:
        self.ids: list[list[str]] = []
        self.answer = answer

    def __call__(self, ids: list[str]) -> Any:
        self.ids.append(ids)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def cancelled(kit: Kit, *ids: str) -> list[State]:
    for id in ids:
        assert kit.cancel(id)
    wait_for_removals()
    return [known(kit, id).state for id in ids]


def test_a_cancelled_task_that_waits_is_taken_out_of_its_queue_and_a_running_one_is_not(shared: Kit) -> None:
    remove, terminate = Removed(), Removed()
    integration = Integration(shared, remove=remove, terminate=terminate)
    integration.enqueued("waiting")
    integration.start("retrying").retry()
    with integration.start("running") as run:
        shared.flush(60)
        states = cancelled(shared, "waiting", "retrying", "running")
        assert states == [State.CANCELLED, State.CANCELLED, State.RUNNING]
        assert (sorted(remove.ids), terminate.ids) == ([["retrying"], ["waiting"]], [])
        run.cancel()


def test_where_the_site_terminates_running_tasks_are_killed_too() -> None:
    kit = Kit("memory://", terminate=True, flush_seconds=60)
    remove, terminate = Removed(), Removed()
    integration = Integration(kit, remove=remove, terminate=terminate)
    integration.enqueued("waiting")
    with integration.start("running"):
        kit.flush(60)
        assert cancelled(kit, "waiting", "running") == [State.CANCELLED, State.RUNNING]
    assert (remove.ids, sorted(terminate.ids)) == ([], [["running"], ["waiting"]])
    kit.close()


def test_only_what_the_queue_says_it_has_removed_is_cancelled(shared: Kit) -> None:
    integration = Integration(shared, remove=Removed(["mine"]))
    for id in ("mine", "others"):
        integration.enqueued(id)
    shared.flush(60)
    assert cancelled(shared, "mine", "others") == [State.CANCELLED, State.PENDING]


def test_an_unreachable_queue_does_not_reach_the_caller_of_cancel(
    shared: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    integration = Integration(shared, remove=Removed(OSError("no route")))
    integration.enqueued("task")
    shared.flush(60)
    assert cancelled(shared, "task") == [State.CANCELLED], "it stops when a worker starts it"
    assert "Could not remove task from the queue" in caplog.text


def test_a_replaced_integration_is_not_asked_any_more(shared: Kit) -> None:
    old, new = Removed(), Removed()
    Integration(shared, remove=old).withdraw()
    Integration(shared, remove=new).enqueued("task")
    shared.flush(60)
    cancelled(shared, "task")
    assert (old.ids, new.ids) == ([], [["task"]])


def test_a_job_that_is_ended_from_outside_is_taken_out_of_its_queue_too(shared: Kit) -> None:
    remove = Removed()
    Integration(shared, remove=remove).enqueued("task")
    shared.flush(60)
    assert shared.end("task", "The disk is full")
    wait_for_removals()
    assert remove.ids == [["task"]]
    assert known(shared, "task").state is State.FAILED


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_task_that_was_cancelled_while_it_waited_is_stopped_and_does_not_start_again(
    kit: Kit, step: Step, stored: Stored, is_ended: bool
) -> None:
    integration = Integration(kit)
    integration.enqueued("task")
    step()
    assert kit.cancel("task")
    if is_ended:
        integration.end_externally("task", State.CANCELLED)
    step()
    run = integration.start("task", cancellable=True)
    step(INTERVAL)
    assert stored("task").state is (State.CANCELLED if is_ended else State.RUNNING)
    assert run.job.cancel_requested
    with pytest.raises(Cancelled), run:
        run.job.check_cancelled()
    step()
    assert stored("task").state is State.CANCELLED
    assert is_ended or stored("task").version.run == 1


def test_a_task_that_is_sent_again_after_it_was_cancelled_runs(kit: Kit, step: Step, stored: Stored) -> None:
    integration = Integration(kit)
    with integration.start("task"):
        step(INTERVAL)
        assert kit.cancel("task")
        raise_and_ignore(Cancelled())
    step()
    run = integration.start("task")
    step(INTERVAL)
    assert (stored("task").state, stored("task").version.run) == (State.RUNNING, 2)
    assert not run.job.cancel_requested
    run.succeed()


def raise_and_ignore(error: BaseException) -> None:
    try:
        raise error
    except BaseException:
        pass


def test_a_start_does_not_wait_for_a_store_that_is_down(
    kit: Kit, step: Step, stored: Stored, backend: FlakyBackend
) -> None:
    integration = Integration(kit)
    backend.down = True
    with pytest.raises(BackendUnavailable):
        kit.get("task")
    run = integration.start("task")
    step()
    backend.down = False
    step(10)
    assert stored("task").state is State.RUNNING
    run.succeed()


# A task that does little costs little.


@pytest.mark.parametrize("queued", [False, True])
def test_a_task_shorter_than_an_interval_is_one_record_and_nothing_is_read(
    kit: Kit, step: Step, stored: Stored, backend: FlakyBackend, queued: bool
) -> None:
    with Integration(kit).start("task", queued=queued) as run:
        run.job.set_progress(1, 2)
        step(INTERVAL * 0.9)
    step()
    [write] = backend.written
    assert (write.role, write.seq) == (Role.DEQUEUE if queued else Role.START, 1)
    assert (stored("task").state, stored("task").current) == (State.SUCCEEDED, 1)
    assert backend.reads == backend.asked == []


def test_a_longer_task_is_running_from_one_interval_on(kit: Kit, step: Step, stored: Stored) -> None:
    integration = Integration(kit)
    runs = [integration.start("first")]
    wait = step(INTERVAL / 2)
    assert wait == pytest.approx(INTERVAL / 2)
    runs.append(integration.start("second"))
    step(wait)
    assert (stored("first").state, kit.get("second")) == (State.RUNNING, None)
    step(INTERVAL / 2)
    assert stored("second").state is State.RUNNING
    for run in runs:
        run.succeed()


def test_a_flush_stores_a_task_that_has_just_begun(make_kit: Callable[..., Kit], backend: FlakyBackend) -> None:
    kit = make_kit(backend=backend, interval=60, lease=600)
    with Integration(kit).start("task"):
        assert kit.publisher.has_jobs
        assert backend.written == []
        kit.flush()
        assert [write.state for write in backend.written] == [State.RUNNING]


class Held(MemoryBackend):
    """Waits in its first write until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()

    def write_with_reports(self, batch: Any, reports: Any) -> Any:
        if not self.entered.is_set():
            self.entered.set()
            assert self.leave.wait(60)
        return super().write_with_reports(batch, reports)


def test_the_end_of_a_task_is_stored_when_it_returns_though_the_publisher_was_at_work(
    make_kit: Callable[..., Kit],
) -> None:
    backend = Held()
    kit = make_kit(backend=backend, flush_seconds=60)
    with kit.observe("long"), Integration(kit).start("task") as run:
        assert backend.entered.wait(60)
        threading.Timer(0.05, backend.leave.set).start()
        run.succeed()
        assert backend.read(["task"])["task"].state is State.SUCCEEDED


def test_an_end_whose_answer_is_lost_is_stored_once(make_kit: Callable[..., Kit]) -> None:
    problems: list[Exception] = [BackendUnavailable("gone"), ValueError("of a signal")]

    class Failing(MemoryBackend):
        def write(self, batch: Any) -> Any:
            super().write(batch)
            if problems:
                raise problems.pop()

    backend = Failing()
    kit = make_kit(backend=backend)
    for id in ("first", "second"):
        Integration(kit).start(id).succeed()
        kit.flush(60)
        progress = backend.read([id])[id]
        assert (progress.state, progress.version) == (State.SUCCEEDED, Version(1, 1, 1))
        wait_until(lambda: not kit.publisher.down, "the backend is back")
    assert not problems


async def test_the_end_of_a_coroutines_task_is_stored_when_it_returns_and_observers_are_notified_elsewhere(
    make_kit: Callable[..., Kit],
) -> None:
    backend, notified = MemoryBackend(), list[str]()
    integration = Integration(make_kit(backend=backend, interval=60, lease=600, flush_seconds=60))
    for number, state in enumerate((State.SUCCEEDED, State.RETRYING, State.FAILED, State.CANCELLED)):
        run = integration.start(f"task-{number}")
        await run.aend(state)
        assert backend.read([run.id])[run.id].state is state
    async with integration.start("seen") as run:
        run.job.attach(lambda progress: notified.append(threading.current_thread().name))
    assert notified
    assert threading.current_thread().name not in notified


async def test_a_coroutine_that_is_cancelled_while_it_ends_a_task_loses_no_end(make_kit: Callable[..., Kit]) -> None:
    backend = Held()
    kit = make_kit(backend=backend, interval=60, lease=600, flush_seconds=60)
    ending = asyncio.create_task(Integration(kit).start("task").aend(State.SUCCEEDED))
    assert await asyncio.to_thread(backend.entered.wait, 60)
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    backend.leave.set()
    await asyncio.to_thread(kit.flush, 60)
    assert backend.read(["task"])["task"].state is State.SUCCEEDED


@pytest.mark.parametrize("down", [False, True])
async def test_a_coroutine_ends_its_job_without_a_thread_of_the_loop(
    make_kit: Callable[..., Kit], backend: FlakyBackend, monkeypatch: pytest.MonkeyPatch, down: bool
) -> None:
    kit = make_kit(backend=backend, flush_seconds=60)
    backend.down = down
    async with kit.observe("first"):
        wait_until(lambda: kit.publisher.down == down, "an outage is known")
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", pytest.fail)
    async with Integration(kit).start("second"):
        pass
    backend.down = False
    monkeypatch.undo()
    await asyncio.to_thread(kit.flush, 60)
    assert {progress.state for progress in backend.read(["first", "second"]).values()} == {State.SUCCEEDED}


def test_tasks_that_are_sent_or_begun_in_a_row_wake_the_publisher_once() -> None:
    clock = FakeClock()
    kit = Kit(backend=MemoryBackend(clock), clock=clock, threaded=False, interval=INTERVAL, lease=60)
    rounds, integration = kit.publisher._rounds, Integration(kit)

    def is_woken() -> bool:
        return not rounds._wakeups.empty()

    for turn in range(3):
        for number in range(10):
            integration.enqueued(f"task-{turn}-{number}")
            assert is_woken() == (turn == 0), "it looks for more, an interval later"
        assert kit.publisher.step() == pytest.approx(INTERVAL)
        clock.advance(INTERVAL)
    assert kit.publisher.step() is None
    run = integration.start("task")
    assert is_woken()
    kit.publisher.step()
    integration.enqueued("another")
    assert not is_woken()
    integration.end_externally("another", State.FAILED)
    assert is_woken(), "an end is stored at once"
    run.succeed()


# Queues that count deliveries.


def test_a_delivery_after_a_lost_worker_is_a_new_run_and_any_other_one_the_next_attempt() -> None:
    clock = FakeClock()
    kit = Kit(backend=MemoryBackend(clock), clock=clock, threaded=False)
    integration = Integration(kit)
    assert integration.attempt_of("task", 1) == 1
    assert integration.attempt_of("task", 2) == 2, "its record is lost"

    def start(delivery: int) -> Run:
        run = integration.start("task", attempt=integration.attempt_of("task", delivery))
        for _ in range(2):
            clock.advance(kit.settings.interval)
            kit.publisher.step()
        return run

    lost = start(1)
    assert integration.attempt_of("task", 2) == 2, "its worker may live"
    clock.advance(kit.settings.lease + 1)
    seen = []
    for delivery in (2, 3):
        run = start(delivery)
        progress = kit.get("task")
        assert progress is not None
        seen.append((progress.version.run, progress.attempt, progress.state))
        run.retry()
        kit.publisher.step()
    assert seen == [(2, 1, State.RUNNING), (2, 2, State.RUNNING)]
    lost.cancel()


# Owners.


def test_an_owner_goes_with_the_headers_of_a_task() -> None:
    user = SimpleNamespace(is_authenticated=True, pk=7)
    assert owned_by(user) == {OWNER_HEADER: "7"}
    assert owner_of(owned_by(user)) == "7"
    for headers in (None, {}, {OWNER_HEADER: ["ada"]}, {OWNER_HEADER: "x" * 129}, {OWNER_HEADER: ""}):
        assert owner_of(headers) is None
    with pytest.raises(InvalidValue):
        owned_by(SimpleNamespace(is_authenticated=False))


def test_what_a_task_sends_is_its_owners_unless_it_names_another(kit: Kit) -> None:
    inherited, named, outside = dict[str, Any](), owned_by("bob"), dict[str, Any]()
    inherit_owner(outside)
    with Integration(kit).start("task", owner=owner_of(ADA)) as run:
        for headers in (inherited, named):
            inherit_owner(headers)
        run.cancel()
    assert (inherited, named, outside) == (ADA, owned_by("bob"), {})


# What integrations may use.


@pytest.mark.parametrize(
    "package",
    [
        "progresskit_celery",
        "progresskit_celery_progress",
        "progresskit_django_tasks",
        "progresskit_dramatiq",
        "progresskit_huey",
        "progresskit_procrastinate",
        "progresskit_rq",
    ],
)
def test_an_integration_reaches_into_no_part_of_a_kit(package: str) -> None:
    folder = Path(progresskit.__file__).parents[1] / "adapters" / package
    inner = {"publisher", "hub", "_update_externally", "_open_job", "_cancellers", "_control_exceptions", "_job"}
    found = [
        f"{path.name}:{node.lineno} {node.attr}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in inner
        # The Celery integration's own attributes of that name are none of a kit's.
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert found == []
