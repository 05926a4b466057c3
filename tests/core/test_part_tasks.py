"""A queue's task that is a part of a job: by its headers, and however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from progresskit import Kit, State
from progresskit.integrations import PART_HEADER, Integration, PartIdentity, part_headers, part_of
from progresskit.parts import Parts

from .doubles import FlakyBackend, wait_for_removals


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", flush_seconds=60, lease=60)
    kit.group("album", size=3)
    yield kit
    kit.close()


def album(kit: Kit) -> Any:
    kit.flush(60)
    record = kit.get("album")
    assert record is not None
    return record


def test_a_part_goes_with_the_headers_of_its_task() -> None:
    bound, unbound = PartIdentity("album", "", 5, run_token="run"), PartIdentity("album", "", 1)

    assert [part_of(part_headers(part)) for part in (bound, unbound)] == [bound, unbound]
    assert part_of(None) is part_of({}) is None


@pytest.mark.parametrize(
    "text", ["album", "album 0 -", "album x -", "an album 1 -", "~ 1 -", "album 1 - -", 5, b"album 1 -"]
)
def test_a_header_that_cannot_be_of_a_part_is_ignored(text: Any) -> None:
    assert part_of({PART_HEADER: text}) is None


def test_a_task_is_a_job_of_its_own_and_a_part(kit: Kit) -> None:
    integration, part = Integration(kit), PartIdentity("album", "")
    integration.enqueued("task", part=part)
    kit.flush(60)
    waiting, before = kit.get("task"), album(kit)
    with integration.start("task", part=part) as run:
        run.job.set_progress(1, 2)
        running = album(kit)

    assert waiting is not None
    assert (waiting.state, waiting.part_of, before.parts) == (State.PENDING, "album", Parts(3, 0, 0, 0, 0))
    assert (running.percent, running.parts) == (16.66, Parts(3, 0, 0, 0, 1))
    assert album(kit).parts == Parts(3, 1, 0, 0, 0)


def test_an_end_from_outside_is_one_of_the_part(kit: Kit) -> None:
    integration, part = Integration(kit), PartIdentity("album", "")
    runs = [integration.start(id, part=part) for id in ("lost", "ended")]
    kit.flush(60)
    integration.end_externally("lost", State.FAILED, error="killed", part=part)
    integration.end_externally("never-started", State.CANCELLED, part=part)
    kit.end("ended")
    for run in runs:
        run.succeed()

    assert (album(kit).state, album(kit).parts) == (State.FAILED, Parts(3, 0, 1, 2, 0))


def test_a_part_of_another_run_adds_nothing(kit: Kit) -> None:
    integration, stranger = Integration(kit), PartIdentity("album", "", run_token="another")
    with integration.start("task", part=stranger):
        kit.flush(60)
    integration.end_externally("other", State.FAILED, part=stranger)

    assert album(kit).parts == Parts(3, 0, 0, 0, 0)


def test_cancelling_a_task_that_waits_cancels_its_part(kit: Kit) -> None:
    integration = Integration(kit, remove=lambda ids: None)
    integration.enqueued("task", part=PartIdentity("album", ""))
    kit.flush(60)
    kit.cancel("task")
    wait_for_removals()

    assert album(kit).parts == Parts(3, 0, 0, 1, 0)


def test_cancelling_a_job_removes_the_tasks_of_its_run(kit: Kit) -> None:
    removed: list[tuple[list[str], bool]] = []
    integration = Integration(kit, remove_parts=lambda runs, terminate: removed.append((runs, terminate)))
    integration.enqueued("waits", part=PartIdentity("album", ""))
    with integration.start("runs", part=PartIdentity("album", "")):
        run_token = album(kit).tally.run_token
        kit.cancel("album")
        wait_for_removals()
        parts = album(kit).parts
    waited = kit.get("waits")

    assert removed == [([run_token], False)]
    assert parts == Parts(3, 0, 0, 1, 1)
    assert waited is not None
    assert waited.state is State.CANCELLED


def test_a_part_that_starts_after_its_job_was_cancelled_is_asked_to_stop(kit: Kit) -> None:
    kit.cancel("album")
    with Integration(kit).start("task", part=PartIdentity("album", "")) as run:
        kit.flush(60)
        assert run.job.cancel_requested


def test_where_parts_cannot_be_added_up_a_task_is_only_a_job() -> None:
    kit = Kit("memory://", backend=FlakyBackend(lambda: 0.0), flush_seconds=60)
    integration, part = Integration(kit), PartIdentity("album", "")
    integration.enqueued("task", part=part)
    with integration.start("task", part=part):
        pass
    integration.end_externally("other", State.FAILED, part=part)
    kit.flush(60)
    records = kit.get_many(["task", "other", "album"])
    kit.close()

    assert {id: (record.state, record.part_of) for id, record in records.items()} == {
        "task": (State.SUCCEEDED, None),
        "other": (State.FAILED, None),
    }
