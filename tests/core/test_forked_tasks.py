"""Tasks in processes that are forked for them, as RQ does: most end before a thread would be of use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from progresskit import Kit, Progress, State, forks, progress
from progresskit.integrations import Integration
from progresskit.memory import MemoryBackend
from tests.services.waiting import wait_until

LONG = {"interval": 60, "lease": 600}
"""Settings with which the thread does nothing within a test unless it is asked to."""


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "is_child", lambda: True)


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def make(make_kit: Callable[..., Kit], backend: MemoryBackend) -> Callable[..., Integration]:
    return lambda **settings: Integration(make_kit(backend=backend, **settings))


def publishers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "progresskit-publisher"]


def stored(backend: MemoryBackend, id: str) -> Progress | None:
    return backend.read([id]).get(id)


def state(backend: MemoryBackend, id: str) -> State:
    return backend.read([id])[id].state


def test_a_short_task_in_a_forked_child_starts_no_thread(make: Callable[..., Integration], backend: Any) -> None:
    integration, before = make(**LONG), publishers()
    for number in range(3):
        with integration.start(f"task-{number}") as run:
            run.job.advance()
        record = stored(backend, run.id)
        assert record is not None
        assert (record.state, record.current) == (State.SUCCEEDED, 1)
    integration.flush()
    integration.close()
    assert publishers() == before


def test_a_worker_makes_the_template_of_records_once_for_all_its_children(make: Callable[..., Integration]) -> None:
    integration = make(**LONG)
    progress._template.cache_clear()
    integration.check("a worker")
    made = progress._template.cache_info().misses
    for kind in ("first", "second", None):
        with integration.start(f"task-{kind}", kind=kind):
            pass
    assert progress._template.cache_info().misses == made == 1


def test_a_longer_task_in_a_forked_child_is_seen_running(make: Callable[..., Integration], backend: Any) -> None:
    integration = make(interval=0.02, lease=60)
    with integration.start("task") as run:
        wait_until(lambda: stored(backend, "task"), "a thread was started")
        run.job.set_progress(3)
        wait_until(lambda: (found := stored(backend, "task")) and found.current == 3, "it samples")
        backend.request_cancel(["task"])
        wait_until(lambda: run.job.cancel_requested, "it listens for requests to cancel")


def test_a_thread_that_starts_earlier_takes_the_task_up_all_the_same(
    make: Callable[..., Integration], backend: Any
) -> None:
    integration = make(interval=0.02, lease=60)
    with integration.start("task"), integration.kit.observe("other"):
        assert publishers()
        wait_until(lambda: stored(backend, "task"), "the task is taken up")


def test_a_flush_in_a_forked_child_stores_a_task_that_has_just_begun(
    make: Callable[..., Integration], backend: Any
) -> None:
    integration = make(**LONG)
    with integration.start("task"):
        integration.kit.flush(60)
        assert state(backend, "task") is State.RUNNING


def test_closing_in_a_forked_child_stores_what_waits(make: Callable[..., Integration], backend: Any) -> None:
    integration = make(**LONG)
    run = integration.start("task")
    integration.enqueued("other")
    integration.close()
    assert [state(backend, id) for id in ("task", "other")] == [State.RUNNING, State.PENDING]
    run.succeed()
    assert state(backend, "task") is State.SUCCEEDED


def test_a_timer_that_ends_after_the_kit_was_closed_starts_no_thread(make: Callable[..., Integration]) -> None:
    integration, before = make(interval=0.01, lease=60), publishers()
    thread = integration.kit.publisher._thread
    with integration.start("task"):
        pass
    integration.close()
    thread._begin_expected()
    assert publishers() == before
