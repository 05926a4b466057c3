"""Cancelling a job stops its task, and Celery neither retries nor fails it."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery, chord
from celery.exceptions import ChordError, TaskRevokedError

import progresskit_celery
from progresskit.integrations import Integration
from progresskit.kit import Kit
from progresskit.progress import State
from tests.services.waiting import PATIENCE, wait_until

from .site import Site
from .worker import start_worker

STEPS = 300
"""What a loop comes to in 1.5 seconds, at most: it waits for 5 ms in each step."""

HEADER = (("plain", (1,)), ("advances", ()))


@pytest.mark.parametrize("loop", ["tracks", "advances"])
def test_a_loop_stops_soon(any_site: Site, loop: str) -> None:
    children = any_site.worker.children()
    result = any_site.send(loop)
    any_site.until_seen(result.id, lambda progress: progress.current > 0)
    assert any_site.kit.cancel(result.id)
    asked = any_site.kit.get(result.id)
    assert asked is not None
    done = any_site.done(result.id)

    assert done.current - asked.current <= STEPS
    assert (done.state, done.attempt, done.error) == (State.CANCELLED, 1, None)
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert any_site.worker.children() == children, "the process of the pool lives on"
    assert any_site.done(any_site.send("plain", 1).id).state is State.SUCCEEDED


def test_a_task_that_waits_for_its_retry_is_cancelled(prefork: Site) -> None:
    result = prefork.send("retries_inside", 60)
    prefork.until(result.id, State.RETRYING)
    prefork.kit.cancel(result.id)
    done = prefork.done(result.id)

    assert (done.state, done.attempt, done.current) == (State.CANCELLED, 1, 3)


def test_a_task_cancelled_while_no_worker_runs_does_not_run_to_its_end(tmp_path: Path) -> None:
    site = Site(tmp_path)
    result = site.send("advances")
    site.until(result.id, State.PENDING)
    site.kit.cancel(result.id)
    done = site.done(result.id)
    worker = start_worker(tmp_path, pool="threads")
    try:
        wait_until(lambda: result.state == "REVOKED", "Celery gives it up")
    finally:
        worker.kill()
        site.kit.close()

    assert (done.state, done.version.run) == (State.CANCELLED, 1)
    assert "Discarding revoked task" not in worker.logged(), "the worker has not heard of it"


def test_cancelling_a_child_job_ends_the_task_that_lets_it_through(any_site: Site) -> None:
    child = f"stopped-{any_site.folder.name}"
    result = any_site.send("advances_child", child)
    any_site.until_seen(child, lambda progress: progress.current > 0)
    any_site.kit.cancel(child)

    assert any_site.done(child).state is State.CANCELLED
    assert any_site.done(result.id).state is State.CANCELLED
    assert result.state == "REVOKED"


def test_a_task_may_refuse_to_be_cancelled(prefork: Site) -> None:
    gate = prefork.gate()
    result = prefork.send("advances_stubbornly", str(gate))
    prefork.until(result.id, State.RUNNING)
    prefork.kit.cancel(result.id)
    prefork.until_seen(result.id, lambda progress: progress.cancel_requested)
    before = prefork.kit.get(result.id)
    assert before is not None
    prefork.until_seen(result.id, lambda progress: progress.current > before.current + 20)
    gate.touch()

    assert prefork.done(result.id).state is State.SUCCEEDED


def test_what_follows_a_cancelled_step_is_cancelled_too(prefork: Site) -> None:
    prefork.app.set_current()
    first = prefork.app.signature("proj.advances", immutable=True)
    last = (first | prefork.app.signature("proj.plain", (2,), immutable=True)).apply_async()
    prefork.until(last.parent.id, State.RUNNING)
    prefork.kit.cancel(last.parent.id)

    assert prefork.done(last.id).state is State.CANCELLED
    with pytest.raises(TaskRevokedError):
        last.get(timeout=PATIENCE)


def test_the_body_of_a_chord_waits_for_its_header_and_is_cancelled_with_it(prefork: Site) -> None:
    prefork.app.set_current()
    header = [prefork.app.signature(f"proj.{name}", args, immutable=True) for name, args in HEADER]
    body = chord(header, prefork.app.signature("proj.plain", (2,), immutable=True), app=prefork.app).apply_async()
    prefork.until(body.id, State.PENDING)
    prefork.until(body.parent[1].id, State.RUNNING)
    prefork.kit.cancel(body.parent[1].id)

    assert prefork.done(body.parent[0].id).state is State.SUCCEEDED
    assert prefork.done(body.id).state is State.CANCELLED
    with pytest.raises((ChordError, TaskRevokedError)):
        body.get(timeout=PATIENCE)


def test_an_unreachable_broker_does_not_fail_a_cancel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kit = Kit(f"sqlite:///{tmp_path}/progress.db")
    app = Celery("lost", broker="amqp://127.0.0.1:1//", set_as_current=False)
    progresskit_celery.install(app, kit=kit)
    Integration(kit).enqueued("lost")
    kit.flush(PATIENCE)
    assert kit.cancel("lost")
    wait_until(lambda: (found := kit.get("lost")) and found.done, "it is cancelled all the same")
    wait_until(lambda: "Could not remove lost from the queue" in caplog.text, "the error is logged")
    kit.close()
