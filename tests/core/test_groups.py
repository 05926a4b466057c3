"""Jobs made of parts, as a kit offers them: `group`, `part`, `observe(part_of=…)` and `observe(parts=…)`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any

import pytest

import progresskit
from progresskit import (
    Cancelled,
    Failure,
    InvalidId,
    InvalidValue,
    Kit,
    Progress,
    State,
    Unsupported,
)
from progresskit.memory import MemoryBackend
from progresskit.observer import job_of
from progresskit.parts import Parts
from progresskit.testing import FakeClock

from .doubles import FlakyBackend

Step = Callable[..., float | None]


class PartsBackend(FlakyBackend, progresskit.SupportsParts):
    """Adds up parts, and fails as the flaky one does."""

    def write_with_reports(self, batch: Any, reports: Any) -> Any:
        self._answer()
        return self.store.write_with_reports(batch, reports)


@pytest.fixture
def backend(clock: FakeClock) -> PartsBackend:
    return PartsBackend(clock)


@pytest.fixture
def kit(backend: PartsBackend, clock: FakeClock) -> Kit:
    return Kit(backend=backend, clock=clock, threaded=False, heartbeat=10, lease=30, strict=False)


@pytest.fixture
def group(kit: Kit, step: Step) -> Callable[..., None]:
    def declare(id: str, **about: Any) -> None:
        kit.group(id, **about)
        step()

    return declare


def test_a_part_without_a_record_counts_in_its_parent(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=2, unit="pictures", description="Resizing")
    with kit.part("album", "a", total=4) as part:
        part.advance()
        step(0.1)
        progress = stored("album")
        assert (progress.state, progress.percent, progress.parts) == (State.RUNNING, 12.5, Parts(2, 0, 0, 0, 1))
        assert (progress.unit, progress.description) == ("pictures", "Resizing")
        part.advance(2)
        step(0.1)
        assert stored("album").percent == 37.5
    step()
    assert stored("album").parts == Parts(2, 1, 0, 0, 0)
    with kit.part("album", "b"):
        pass
    step()
    assert stored("album").state is State.SUCCEEDED
    assert kit.get_many(["album", "a", "b"]).keys() == {"album"}


def test_a_job_may_be_a_part_and_has_a_record_of_its_own(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=1, weight=4)
    with kit.observe("resize-7", part_of="album", weight=3, total=10) as job:
        job.advance(5)
        step(0.1)
        assert (stored("resize-7").percent, stored("resize-7").part_of) == (50, "album")
        assert stored("album").percent == 37.5
    step()
    assert (stored("album").state, stored("album").part_of) == (State.SUCCEEDED, None)


@pytest.mark.parametrize(
    ("error", "state"), [(None, State.SUCCEEDED), (KeyError(), State.FAILED), (Cancelled("x"), State.CANCELLED)]
)
def test_a_part_ends_as_its_block(
    kit: Kit,
    step: Step,
    group: Callable[..., None],
    stored: Callable[[str], Progress],
    error: BaseException | None,
    state: State,
) -> None:
    group("album", size=1)
    with suppress(KeyError, Cancelled), kit.part("album", "a"):
        if error is not None:
            raise error
    step()
    assert stored("album").state is state


def test_inside_of_a_part_code_reports_to_it(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=1)
    with kit.part("album", "a"):
        for number, _ in enumerate(kit.track(range(4))):
            if number == 2:
                step(0.1)
                assert stored("album").percent == 50
        with kit.observe("another") as other:
            assert job_of(other).progress.parent == "album"
            step(0.1)
    assert stored("another").parent == "album"


def test_a_part_with_steps_contributes_their_percent(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=1)
    with kit.observe("resize", part_of="album", steps={"Read": 1, "Write": 3}) as job:
        with job.step("Read"):
            pass
        step(0.1)
        assert stored("album").percent == 25


def test_a_job_with_a_worker_counts_by_its_parts_only(kit: Kit, step: Step, stored: Callable[[str], Progress]) -> None:
    with kit.observe("report", parts=2, description="Waiting") as job:
        step()
        job.advance()
        job.set_progress(1, 5)
        assert job.dropped == 3
        with job.step("Read"):
            pass
        assert job.dropped == 4
        assert list(kit.track([1, 2])) == [1, 2]
        assert job.dropped == 5
        with kit.part("report", "a"):
            pass
        step(0.1)
        progress = stored("report")
        assert (progress.percent, progress.current, progress.total, progress.parts) == (50, 1, 2, Parts(2, 1, 0, 0, 0))
        assert (progress.description, progress.steps) == ("Waiting", None)
    step()
    assert (stored("report").state, stored("report").parts) == (State.SUCCEEDED, Parts(2, 1, 0, 0, 0))


@pytest.mark.parametrize(("steps", "percent"), [(None, 50), (["Read", "Store"], 25)])
def test_parts_that_nobody_declared_leave_the_count_of_a_worker_alone(
    kit: Kit,
    step: Step,
    group: Callable[..., None],
    stored: Callable[[str], Progress],
    steps: list[str] | None,
    percent: float,
) -> None:
    with kit.observe("report", steps=steps) as job, job.step("Read") if steps else job as counting:
        counting.set_progress(2, 4)
        step(0.1)
        with kit.part("report", "a"):
            pass
        step(0.1)
        progress = stored("report")
        assert (progress.percent, progress.current, progress.total) == (percent, 2, 4)
        assert progress.parts == Parts(None, 1, 0, 0, 0)
        assert json.loads(progress.to_json()) == progress.to_dict()
        group("report", size=5)
        progress = stored("report")
        assert (progress.percent, progress.current, progress.total) == (20, 1, 5)


def test_code_that_joined_a_job_declares_its_parts_and_may_change_how_many(
    kit: Kit, step: Step, stored: Callable[[str], Progress]
) -> None:
    with kit.observe("report"):
        kit.observe(parts=4)
        with kit.part("report", "a"):
            pass
        step(0.1)
        assert stored("report").percent == 25
        step(0.1)
        kit.observe(parts=2).update(description="Fewer")
        step(0.1)
        assert stored("report").percent == 50


def test_a_declaration_by_another_process_is_not_undone_by_the_worker(
    kit: Kit, step: Step, stored: Callable[[str], Progress]
) -> None:
    with kit.observe("report", parts=4) as job:
        step(0.1)
        kit.group("report", size=8)
        step(0.1)
        job.update(description="Next")
        step(0.1)
        assert (stored("report").total, stored("report").description) == (8, "Next")


@pytest.mark.parametrize("weight", [0, 1_000_001, 1.5, True, "2"])
def test_a_bad_weight_is_dropped(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress], weight: Any
) -> None:
    group("album", size=2)
    with kit.part("album", "a", weight=weight) as part:
        assert part.dropped == 1
    step()
    assert stored("album").percent == 50


@pytest.mark.parametrize("size", [-1, 2**53, 1.5, True, "2"])
def test_a_bad_size_is_an_error_of_the_sender_and_dropped_in_a_worker(kit: Kit, size: Any) -> None:
    with pytest.raises(InvalidValue, match="size must be"):
        kit.group("album", size=size)
    with kit.observe("job", parts=size) as job:
        assert job.dropped == 1
        job.advance()
        assert job.dropped == 1


@pytest.mark.parametrize("name", ["", "x" * 201, None, object()])
def test_a_name_is_text_of_1_to_200_characters(kit: Kit, name: Any) -> None:
    with pytest.raises(InvalidId, match="not the name of a part"):
        kit.part("album", name)


def test_a_name_may_be_a_number_or_a_path(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=2)
    for name in (7, "holidays 2026/東京.jpg"):
        with kit.part("album", name):
            pass
    step()
    assert stored("album").parts == Parts(2, 2, 0, 0, 0)


def test_a_group_without_an_id_has_a_fresh_one(kit: Kit, step: Step) -> None:
    id = kit.group(size=0)
    step()
    progress = kit.get(id)
    assert progress is not None
    assert (len(id), progress.state) == (32, State.SUCCEEDED)


def test_the_texts_of_a_group_stay_where_none_is_given(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", unit="pictures", description="Resizing", kind="resize", meta={"a": 1})
    step(1)
    group("album", size=3)
    progress = stored("album")
    assert (progress.total, progress.unit, progress.description, progress.meta) == (3, "pictures", "Resizing", {"a": 1})
    assert progress.kind == "resize"


def test_a_part_inherits_the_owner_of_the_job_around_it(
    kit: Kit, step: Step, stored: Callable[[str], Progress]
) -> None:
    with kit.observe("report", parts=1, owner="7"), kit.observe("a", part_of="report"):
        step(0.1)
        assert (stored("a").owner, stored("a").parent) == ("7", "report")


def test_a_job_that_is_opened_in_a_part_without_a_record_inherits_the_owner(
    kit: Kit, step: Step, stored: Callable[[str], Progress]
) -> None:
    with kit.observe("report", parts=1, owner="7"), kit.part("report", "a") as part, kit.observe("child"):
        step(0.1)
        assert (part.owner, stored("child").owner, stored("child").parent) == ("7", "7", "report")


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("parts", [4, None])
def test_a_part_that_is_opened_inside_of_its_parent_belongs_to_that_run(
    make_kit: Callable[..., Kit], parts: int | None, is_stored: bool
) -> None:
    kit = make_kit(url="memory://", interval=60, lease=200)  # no part is stored before the flush

    with kit.observe("report", parts=parts):
        if is_stored:
            kit.flush()
        with kit.observe("child"):
            late = [kit.part("report", "a"), kit.observe("own", part_of="report")]
    with kit.observe("report", parts=4):
        kit.flush()
        for part in (*late, kit.part("report", "b")):
            part.succeed()
        kit.flush()
        progress = kit.get("report")
        assert progress is not None
        assert progress.version.run == 2
        assert progress.parts == Parts(4, 1, 0, 0, 0)


def test_a_part_adds_nothing_to_a_run_that_another_process_begins_meanwhile(
    kit: Kit, backend: PartsBackend, clock: FakeClock, step: Step, stored: Callable[[str], Progress]
) -> None:
    other = Kit(backend=backend, clock=clock, threaded=False, heartbeat=10, lease=30)
    with kit.observe("report"):
        step()
        late = kit.part("report", "a")
        newer = Context().run(other.observe, "report", parts=2)
        other.publisher.step()
        late.advance()
        step(0.1)
        assert (stored("report").version.run, stored("report").parts) == (2, Parts(2, 0, 0, 0, 0))
        newer.succeed()


def test_a_job_of_another_kit_is_not_the_parent_though_it_surrounds_the_part(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    other = Kit("memory://", interval=0.01)
    group("report", size=2)
    with other.observe("report", parts=2):
        other.flush()
        kit.part("report", "a").succeed()
        step(0.1)
    other.close()
    assert stored("report").parts == Parts(2, 1, 0, 0, 0)


def test_a_request_to_cancel_the_group_reaches_its_parts(
    kit: Kit, clock: FakeClock, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=3)
    with suppress(Cancelled), kit.part("album", "a", cancellable=True) as part:
        with kit.observe("resize", part_of="album") as job:
            step(0.1)
            assert kit.cancel("album")
            step(1)
            assert (part.cancel_requested, job.cancel_requested) == (True, True)
        part.advance()
    step()
    assert (stored("album").state, stored("album").parts) == (State.CANCELLED, Parts(3, 1, 0, 2, 0))


def test_a_group_of_which_no_part_runs_is_ended_as_failed(make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(url="memory://")
    kit.group("album", size=3)
    with kit.part("album", "a"):
        pass
    kit.flush()
    assert kit.end("album", failed="The disk is full")
    progress = kit.get("album")
    assert progress is not None
    assert (progress.state, progress.error) == (State.FAILED, Failure("Error", "The disk is full", public=True))
    assert not kit.end("album", failed="It is fuller")


def test_a_request_to_cancel_a_part_stops_that_part_only(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=2)
    with kit.part("album", "a") as other, kit.observe("resize", part_of="album") as job:
        step(0.1)
        kit.cancel("resize")
        step(1)
        assert (other.cancel_requested, job.cancel_requested) == (False, True)
    assert not stored("album").cancel_requested


def test_a_heartbeat_of_a_part_keeps_the_group_from_stalling(
    kit: Kit, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> None:
    group("album", size=2)
    with kit.part("album", "a"):
        for _ in range(10):
            step(9)
            assert not stored("album").stalled
    # Its worker ends it, so that the group waits for its other part again.
    step(100)
    assert not stored("album").stalled


@pytest.fixture
def outage(
    kit: Kit, backend: PartsBackend, step: Step, group: Callable[..., None], stored: Callable[[str], Progress]
) -> Iterator[Progress]:
    """Begin one of a job of three parts, one of which has ended and one is at work; the record is that of before."""
    group("album", size=3)
    with kit.part("album", "ended"):
        pass
    with kit.part("album", "live", total=2) as live:
        live.advance()
        step(0.1)
        before = stored("album")
        backend.down = True
        live.advance()
        step(0.1)
        yield before


def test_parts_are_sent_again_after_an_outage_and_counted_once(
    backend: PartsBackend, outage: Progress, step: Step, stored: Callable[[str], Progress]
) -> None:
    backend.down = False
    for _ in range(5):
        step(10)
    after = stored("album")
    assert (outage.parts, after.parts) == (Parts(3, 1, 0, 0, 1), Parts(3, 1, 0, 0, 1))
    assert (outage.percent, after.percent) == (50, 66.66)


def test_a_server_that_lost_its_data_gets_the_contributions_again(
    backend: PartsBackend,
    outage: Progress,
    step: Step,
    group: Callable[..., None],
    stored: Callable[[str], Progress],
) -> None:
    backend.lose_everything()
    backend.down = False
    for _ in range(3):
        step(5)
    assert (stored("album").state, stored("album").parts) == (State.PENDING, Parts(None, 1, 0, 0, 1))
    group("album", size=3)
    assert (stored("album").state, stored("album").percent) == (State.RUNNING, 66.66)


def test_a_group_that_is_declared_during_an_outage_is_stored_afterwards(
    kit: Kit, backend: PartsBackend, step: Step
) -> None:
    backend.down = True
    kit.group("album", size=3)
    step()
    assert kit.publisher.down
    backend.down = False
    for _ in range(5):
        step(10)
    progress = backend.store.read(["album"])["album"]
    assert progress.parts == Parts(3, 0, 0, 0, 0)


def test_a_viewer_sees_the_parts_once_per_interval_and_the_end(kit: Kit, clock: FakeClock, step: Step) -> None:
    kit.group("album", size=2)
    step()
    with kit.viewer("album") as viewer:
        kit.hub.step()
        assert viewer.get(0)["album"].percent == 0
        with kit.part("album", "a", total=100) as part:
            for _ in range(3):
                part.advance(10)
                step(0.1)
                kit.hub.step()
            assert viewer.get(0)["album"].percent == 15
        step()
        clock.advance(0.1)
        kit.hub.step()
        assert viewer.get(0)["album"].parts == Parts(2, 1, 0, 0, 0)
        with kit.part("album", "b"):
            pass
        step(0.1)
        kit.hub.step()
        assert viewer.get(0)["album"].state is State.SUCCEEDED


def test_a_backend_that_cannot_add_up_parts(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    backend = FlakyBackend(clock)
    kit = Kit(backend=backend, clock=clock, threaded=False)
    with pytest.raises(Unsupported, match="cannot add up the parts of jobs"):
        kit.group("album", size=1)
    with kit.part("album", "a") as part:
        part.advance()
    with kit.observe("job", part_of="album", total=2) as job, kit.observe("parent", parts=3, total=4) as parent:
        job.advance()
        parent.advance()
        kit.publisher.step()
    records = backend.store.read(["album", "job", "parent"])
    assert {id: record.percent for id, record in records.items()} == {"job": 50, "parent": 25}
    assert len([record for record in caplog.records if "cannot add up" in record.message]) == 1


def test_a_group_is_declared_without_blocking_the_event_loop(make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(backend=MemoryBackend())

    async def work() -> str:
        id = await kit.agroup(size=1)
        async with kit.part(id, "a", total=2) as part:
            part.advance()
        return id

    progress = kit.get(asyncio.run(work()))
    assert progress is not None
    assert progress.state is State.SUCCEEDED
