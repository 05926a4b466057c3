"""What `progresskit_huey.install` does beyond the contract of queues; Huey executes the tasks in this thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huey import FileHuey, Huey, MemoryHuey, RetryTask, SqliteHuey
from huey.api import TaskWrapper
from huey.exceptions import CancelExecution, TaskException

import progresskit
from progresskit import Kit, Progress, State
from progresskit.errors import UnknownScheme
from progresskit.integrations import current_run
from progresskit_huey import install, owned_by
from tests.services.waiting import PATIENCE, wait_until

Task = Callable[..., TaskWrapper]


def bad() -> None:
    raise OSError("the disk is full")


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", flush_seconds=PATIENCE)
    yield kit
    kit.close()


@pytest.fixture
def huey(kit: Kit) -> Huey:
    huey = MemoryHuey()
    install(huey, kit=kit)
    return huey


@pytest.fixture
def task(huey: Huey) -> Task:
    """Return a function that makes tasks."""
    return lambda function, **settings: huey.task(**settings)(function)


def work(huey: Huey, now: datetime | None = None) -> None:
    """Execute all tasks that wait, and those that are due by then."""
    while (task := huey.dequeue()) is not None:
        huey.execute(task, now)
    for task in huey.read_schedule(now):
        huey.enqueue(task)
    while (task := huey.dequeue()) is not None:
        huey.execute(task, now)


def known(kit: Kit, id: str) -> Progress:
    kit.flush(PATIENCE)
    progress = kit.get(id)
    assert progress is not None
    return progress


def brief(kit: Kit, *results: Any) -> list[tuple[State, int, int]]:
    """Return the states, attempts and runs of the jobs of results."""
    records = [known(kit, result.id) for result in results]
    return [(record.state, record.attempt, record.version.run) for record in records]


@pytest.mark.parametrize("storage", ["memory", "file", "sqlite"])
def test_the_tasks_of_a_pipeline_wait_from_the_beginning_and_belong_to_one_owner(
    kit: Kit, tmp_path: Path, storage: str
) -> None:
    made = {
        "memory": lambda: MemoryHuey(),
        "file": lambda: FileHuey(path=str(tmp_path)),
        "sqlite": lambda: SqliteHuey(filename=str(tmp_path / "huey.db")),
    }[storage]()
    install(made, kit=kit)
    add = made.task(name="add")(lambda a, b, **more: a + b + len(more))
    both = made.enqueue(add.s(1, 2, **owned_by("ada")).then(add, 10))
    assert brief(kit, *both) == [(State.PENDING, 1, 1)] * 2
    work(made)
    assert [known(kit, each.id).owner for each in both] == ["ada", "ada"]
    assert brief(kit, *both) == [(State.SUCCEEDED, 1, 1)] * 2
    assert both.get() == [3, 13], "the function does not get the owner"
    made.storage.close()


def test_when_a_task_of_a_pipeline_fails_those_after_it_end(kit: Kit, huey: Huey, task: Task) -> None:
    both = huey.enqueue(task(bad).s().then(task(lambda: None, name="never")))
    work(huey)
    assert brief(kit, *both) == [(State.FAILED, 1, 1)] * 2


def test_in_immediate_mode_a_task_is_a_child_of_the_surrounding_job(kit: Kit, huey: Huey, task: Task) -> None:
    huey.immediate = True
    calls: list[str] = []

    def flaky() -> str:
        calls.append(kit.current().id)
        if len(calls) < 2:
            bad()
        return "done"

    with kit.observe("outer", owner="ada"):
        result = task(flaky, retries=1)()
        assert kit.current().id == "outer"
        assert current_run() is None
    record = known(kit, result.id)
    assert (record.state, record.attempt, record.parent, record.owner) == (State.SUCCEEDED, 2, "outer", "ada")
    assert calls == [result.id] * 2
    assert result.get() == "done"


def test_a_retry_names_its_next_time_and_a_cancelled_one_is_never_executed(kit: Kit, huey: Huey, task: Task) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    calls: list[int] = []

    def again(options: dict[str, Any]) -> None:
        calls.append(1)
        raise RetryTask(**options)

    retried = task(again)
    at, after = retried({"eta": moment}), retried({"delay": 60})
    work(huey)
    assert brief(kit, at, after) == [(State.RETRYING, 1, 1)] * 2
    assert known(kit, at.id).next_retry_at == moment
    soon = known(kit, after.id).next_retry_at
    assert soon is not None
    assert timedelta(seconds=50) < soon - datetime.now(UTC) <= timedelta(seconds=60)

    assert kit.cancel(at.id)
    assert kit.cancel(after.id)
    wait_until(lambda: brief(kit, at, after) == [(State.CANCELLED, 1, 1)] * 2)
    work(huey, datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=2))
    assert brief(kit, at, after) == [(State.CANCELLED, 1, 1)] * 2
    assert len(calls) == 2


def test_a_scheduled_task_that_is_cancelled_stays_cancelled_when_it_is_due(kit: Kit, huey: Huey, task: Task) -> None:
    never = task(bad, name="never").schedule(delay=60)
    work(huey)
    assert brief(kit, never) == [(State.PENDING, 1, 1)]
    assert kit.cancel(never.id)
    wait_until(lambda: brief(kit, never) == [(State.CANCELLED, 1, 1)])
    work(huey, datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1))
    assert brief(kit, never) == [(State.CANCELLED, 1, 1)]
    assert not len(huey)


def test_a_task_that_is_never_called_is_cancelled(kit: Kit, huey: Huey, task: Task) -> None:
    expired = task(bad, name="expired", expires=datetime.now() - timedelta(hours=1))()  # noqa: DTZ005
    revoked = task(bad, name="revoked")()
    revoked.revoke()
    work(huey)

    @huey.pre_execute()
    def refuse(task: Any) -> None:
        raise CancelExecution

    refused = task(bad, name="refused")()
    work(huey)
    assert brief(kit, expired, revoked, refused) == [(State.CANCELLED, 1, 1)] * 3
    assert current_run() is None


@pytest.mark.parametrize(("retry", "attempts"), [(None, 2), (False, 1)])
def test_a_task_that_cancels_itself(kit: Kit, huey: Huey, task: Task, retry: bool | None, attempts: int) -> None:
    def give_up() -> None:
        with kit.observe("inside"):
            raise CancelExecution(retry=retry)

    seen: list[State] = []
    result = task(give_up, retries=1)()
    while (made := huey.dequeue()) is not None:
        huey.execute(made)
        seen.append(known(kit, result.id).state)
    assert seen == [State.RETRYING, State.CANCELLED][-attempts:]
    assert brief(kit, result) == [(State.CANCELLED, attempts, 1)]
    assert known(kit, "inside").state is State.CANCELLED


def test_cancelled_does_not_end_the_worker_and_a_waiting_caller_learns_it(kit: Kit, huey: Huey, task: Task) -> None:
    def stop(task: Any) -> None:
        assert task.kwargs == {}
        raise progresskit.Cancelled

    wrapped = task(stop, retries=3, context=True)
    result = wrapped(**owned_by("ada"))
    work(huey)
    assert brief(kit, result) == [(State.CANCELLED, 1, 1)]
    with pytest.raises(TaskException, match="cancelled"):
        result.get()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_huey_loses_is_failed(kit: Kit, huey: Huey, task: Task, error: type[BaseException]) -> None:
    def interrupted() -> None:
        raise error

    result = task(interrupted)()
    expected = pytest.raises(SystemExit) if error is SystemExit else nullcontext()
    with expected:
        work(huey)
    assert brief(kit, result) == [(State.FAILED, 1, 1)]
    assert current_run() is None


def test_a_task_whose_end_huey_could_not_store_is_failed(kit: Kit, tmp_path: Path) -> None:
    path = tmp_path / "huey.db"
    huey = SqliteHuey(filename=str(path), timeout=0)
    install(huey, kit=kit)
    with closing(sqlite3.connect(path)) as other:

        def locked() -> None:
            other.execute("BEGIN IMMEDIATE")

        result = huey.task()(locked)()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            work(huey)
    assert brief(kit, result) == [(State.FAILED, 1, 1)]
    assert current_run() is None


def test_a_task_in_flight_when_the_consumer_stops_is_failed(kit: Kit, huey: Huey, task: Task) -> None:
    result = task(lambda: huey.notify_interrupted_tasks(), name="last")()
    work(huey)
    assert brief(kit, result) == [(State.FAILED, 1, 1)]


def test_what_must_not_be_interrupted_is_not(kit: Kit, huey: Huey, task: Task) -> None:
    def pay() -> None:
        kit.flush(PATIENCE)
        assert kit.cancel(kit.current().id)
        while not kit.current().cancel_requested:
            pass
        kit.current().advance()

    careful = task(pay, name="careful", progress_cancellable=False)()
    work(huey)
    install(huey, kit=kit, cancellable=False)
    all_are = task(pay, name="all")()
    work(huey)
    assert brief(kit, careful, all_are) == [(State.SUCCEEDED, 1, 1)] * 2


def test_the_later_installation_counts(kit: Kit, huey: Huey, task: Task) -> None:
    other = Kit("memory://", flush_seconds=PATIENCE)
    install(huey, kit=other)
    result = task(lambda: 5, name="five")()
    work(huey)
    assert brief(other, result) == [(State.SUCCEEDED, 1, 1)]
    kit.flush(PATIENCE)
    assert kit.get(result.id) is None
    other.close()


def test_a_consumer_with_wrong_settings_does_not_start(huey: Huey) -> None:
    wrong = Kit()
    wrong.host_settings({"url": "redsi://localhost/0"}, check=False)
    install(huey, kit=wrong)
    with pytest.raises(UnknownScheme, match="did you mean redis://"):
        huey.create_consumer(workers=1)
