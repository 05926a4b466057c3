"""A task's owner goes with its message: through the queue, retries and redeliveries, to what is sent after it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery

import progresskit_celery
from progresskit.errors import InvalidValue
from progresskit.integrations import owner_of
from progresskit.kit import Kit
from progresskit.progress import State
from progresskit_celery import owned_by

from .site import Site

ADA = owned_by(SimpleNamespace(is_authenticated=True, pk="ada"))


def test_a_task_has_its_owner_from_the_moment_it_is_sent(any_site: Site) -> None:
    gate = any_site.gate()
    with any_site.occupied():
        result = any_site.send("steps", 10, str(gate), headers=ADA)
        pending = any_site.until(result.id, State.PENDING)
    running = any_site.until_seen(result.id, lambda progress: progress.current == 5)
    gate.touch()

    assert [progress.owner for progress in (pending, running, any_site.done(result.id))] == ["ada"] * 3


def test_a_task_without_an_owner_has_none(any_site: Site) -> None:
    assert any_site.done(any_site.send("plain", 3).id).owner is None


def test_an_owner_stays_through_a_retry_and_is_the_childs_too(any_site: Site) -> None:
    gate, child = any_site.gate(), f"owned-child-{any_site.folder.name}"
    result = any_site.send("retries_inside", 0.1, child, str(gate), headers=ADA)
    second = any_site.until_seen(result.id, lambda progress: progress.attempt == 2)
    gate.touch()

    assert second.owner == any_site.done(result.id).owner == "ada"
    assert any_site.done(child).owner == "ada"


def test_an_owner_stays_in_a_new_run(any_site: Site) -> None:
    gate = any_site.gate()
    result = any_site.send("rejects", str(any_site.gate()), str(gate), headers=ADA)
    again = any_site.until_seen(result.id, lambda progress: progress.version.run == 2)
    gate.touch()

    assert again.owner == any_site.done(result.id).owner == "ada"


def test_all_steps_of_a_chain_are_its_owners(any_site: Site) -> None:
    gate = any_site.gate()
    any_site.app.set_current()
    steps = [any_site.app.signature("proj.hold", (str(gate),), immutable=True)]
    steps += [any_site.app.signature("proj.plain", (n,), immutable=True) for n in (2, 3)]
    last = (steps[0] | steps[1] | steps[2]).apply_async(headers=ADA)
    pending = any_site.until(last.id, State.PENDING)
    gate.touch()
    done = [any_site.done(result.id) for result in (last, last.parent, last.parent.parent)]

    assert [progress.owner for progress in (pending, *done)] == ["ada"] * 4


def test_an_eager_task_has_its_owner_and_hands_it_down() -> None:
    kit = Kit("memory://", flush_seconds=30)  # for a busy machine
    app = Celery("eager", set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.update(task_always_eager=True)
    progresskit_celery.install(app, kit=kit)
    inner_ids = []

    @app.task(shared=False)
    def inner() -> None:
        pass

    @app.task(shared=False)
    def outer() -> None:
        inner_ids.append(inner.delay().id)

    result = outer.apply_async(headers=ADA)
    records = kit.get_many([result.id, *inner_ids])
    kit.close()

    assert [record.owner for record in records.values()] == ["ada", "ada"]


@pytest.mark.parametrize("nobody", [None, "", SimpleNamespace(is_authenticated=False)])
def test_nobody_owns_no_task(nobody: object) -> None:
    with pytest.raises(InvalidValue, match="owner"):
        owned_by(nobody)


@pytest.mark.parametrize("headers", [None, {}, {"progresskit_owner": ["ada"]}, {"progresskit_owner": "x" * 129}])
def test_a_header_that_names_nobody_does_no_harm(headers: dict[str, object] | None) -> None:
    assert owner_of(headers) is None


def test_what_replaces_a_task_is_its_owners(any_site: Site) -> None:
    assert any_site.done(any_site.send("replaced", 3, headers=ADA).id).owner == "ada"
