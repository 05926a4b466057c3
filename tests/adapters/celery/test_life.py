"""A task's life is its job's: pending, running, retrying and the end, in a real worker of each pool."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.result import AsyncResult

from progresskit.progress import State
from tests.services.waiting import PATIENCE, wait_until

from .site import Site

KINDS = ("plain", "decorated", "bound", "autoretry", "based", "classy", "shared", "late", "classic")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_reports_to_its_job(any_site: Site, kind: str) -> None:
    result = any_site.send(kind, 20)
    done = any_site.done(result.id)

    assert (done.state, done.kind, done.current, done.total) == (State.SUCCEEDED, f"proj.{kind}", 20, 20)
    assert result.get(timeout=PATIENCE) == {"classic": None, "decorated": 40}.get(kind, 20)


@pytest.mark.parametrize("task", ["fails", "fails_inside"])
def test_a_task_that_raises_is_failed_where_it_was(any_site: Site, task: str) -> None:
    done = any_site.done(any_site.send(task).id)

    assert done.state is State.FAILED
    assert (done.current, done.percent) == (29, 29)
    assert done.error == ("ValueError", "no such row", False)


def test_a_task_that_retries_is_retrying_until_its_next_attempt(any_site: Site) -> None:
    gate = any_site.gate()
    sent = datetime.now(UTC)
    with any_site.held_back("retries_inside", 1.0, None, str(gate)) as result:
        retrying = any_site.until(result.id, State.RETRYING)
        seen = datetime.now(UTC)
    second = any_site.until(result.id, State.RUNNING)
    gate.touch()
    done = any_site.done(result.id)

    assert (retrying.attempt, retrying.current) == (1, 3)
    assert retrying.next_retry_at is not None
    assert sent < retrying.next_retry_at - timedelta(seconds=1) < seen
    assert second.attempt == done.attempt == 2
    assert (done.state, done.version.run) == (State.SUCCEEDED, 1)


def test_a_child_job_left_by_a_retry_is_retrying_too(any_site: Site) -> None:
    child = f"child-{any_site.folder.name}"
    with any_site.held_back("retries_inside", 0.5, child) as result:
        retrying = any_site.until(child, State.RETRYING)
    done = any_site.done(child)

    assert retrying.parent == done.parent == result.id
    assert (done.state, done.current) == (State.SUCCEEDED, 4)
    assert any_site.done(result.id).state is State.SUCCEEDED


ENDS: dict[str, tuple[dict[str, Any], State, tuple[str, str] | None]] = {
    "ignores": ({}, State.CANCELLED, None),
    "rejects": ({}, State.FAILED, ("Error", "not now")),
    "unheard_of": ({}, State.FAILED, ("NotRegistered", "'proj.unheard_of'")),
    "gathered": ({"expires": -1}, State.CANCELLED, None),
}
"""Tasks that Celery drops, with options for sending them, and how their jobs end."""


@pytest.mark.parametrize("task", ENDS)
def test_a_task_that_celery_drops_ends_all_the_same(any_site: Site, task: str) -> None:
    options, state, error = ENDS[task]
    done = any_site.done(any_site.send(task, **options).id)

    assert done.state is state
    assert (done.error and done.error[:2]) == error


def test_a_requeued_task_waits_for_its_redelivery(any_site: Site) -> None:
    gate = any_site.gate()
    result = any_site.send("rejects", str(any_site.gate()), str(gate))
    again = any_site.until_seen(result.id, lambda progress: progress.version.run == 2)
    gate.touch()

    assert again.state is State.RUNNING
    assert any_site.done(result.id).state is State.SUCCEEDED


def test_a_replaced_task_goes_on_under_its_id(any_site: Site) -> None:
    result = any_site.send("replaced", 7)

    assert any_site.done(result.id).state is State.SUCCEEDED
    assert result.get(timeout=PATIENCE) == 8


def test_a_revoked_task_is_cancelled(any_site: Site) -> None:
    id = f"revoked-{any_site.folder.name}"
    any_site.app.control.revoke(id)
    wait_until(lambda: f"flagged as revoked: {id}" in any_site.worker.logged(), "the worker knows")
    any_site.send("plain", 1, task_id=id)

    assert any_site.done(id).state is State.CANCELLED


def test_a_task_that_was_left_out_is_no_job(any_site: Site) -> None:
    result: AsyncResult = any_site.send("secret", expires=60)
    result.get(timeout=PATIENCE)

    any_site.done(any_site.send("plain", 1).id)
    progress = any_site.kit.get(result.id)
    assert progress is None or progress.state is State.PENDING, "its sender was not told to leave it out"


def test_an_id_that_does_not_fit_is_hashed(any_site: Site) -> None:
    from progresskit.progress import fit_id

    id = f"_import of {any_site.folder.name}"
    any_site.send("plain", 3, task_id=id)

    assert any_site.done(fit_id(id)).state is State.SUCCEEDED


def test_every_step_of_a_chain_is_pending_from_the_beginning(any_site: Site) -> None:
    gate = any_site.gate()
    any_site.app.set_current()
    steps = [any_site.app.signature("proj.hold", (str(gate),), immutable=True)]
    steps += [any_site.app.signature("proj.plain", (n,), immutable=True) for n in (2, 3)]
    last = (steps[0] | steps[1] | steps[2]).apply_async()
    any_site.until(last.id, State.PENDING)
    any_site.until(last.parent.id, State.PENDING)
    gate.touch()

    assert any_site.done(last.id).current == 3
    assert any_site.done(last.parent.id).current == 2


def test_what_follows_a_failed_step_is_failed_too(any_site: Site) -> None:
    any_site.app.set_current()
    first = any_site.app.signature("proj.fails", immutable=True)
    last = (first | any_site.app.signature("proj.plain", (2,), immutable=True)).apply_async()
    done = any_site.done(last.id)

    assert (done.state, done.kind) == (State.FAILED, "proj.plain")
    assert any_site.done(last.parent.id).state is State.FAILED


def test_the_classic_form_works_in_an_app_that_knows_nothing_of_progresskit(sites: Callable[..., Site]) -> None:
    site = sites("prefork", name="bare", env={"PROJ_BARE": "1"})
    for id in (site.send("classic", 5).id, site.send("classic", 6).id):
        done = site.done(id)
        assert (done.state, done.description) == (State.SUCCEEDED, "reading")
        assert done.current == done.total
