"""Records without reports, which come from a template, are those that the slower way makes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit import Kit, Progress, State, Version
from progresskit.config import Settings
from progresskit.integrations import Integration, PartIdentity
from progresskit.job import NO_REPORTS
from progresskit.memory import MemoryBackend
from progresskit.progress import FINAL_STATES, ID_ALPHABET, Role, encode, milliseconds, moment
from progresskit.publisher import Publisher
from progresskit.snapshots import Identity, Result, SnapshotBuilder, external_update
from progresskit.testing import FakeClock

ids = st.text(sorted(ID_ALPHABET), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
identities = st.builds(
    Identity,
    id=ids,
    token=ids,
    kind=st.none() | texts,
    parent=st.none() | ids,
    attempt=st.integers(1, 1_000),
    owner=st.none() | texts,
    start=st.sampled_from((Role.START, Role.DEQUEUE)),
    part=st.none(),
)
ends = st.sampled_from((State.SUCCEEDED, State.FAILED, State.CANCELLED, State.RETRYING))


@given(identities, ends, st.floats(0, 4e9), st.floats(0, 1e6))
def test_a_record_without_reports_is_that_of_an_empty_sample(
    identity: Identity, state: State, created: float, seconds: float
) -> None:
    clock = FakeClock(created)
    clocks = Publisher(MemoryBackend(clock), Settings(), clock, clock, threaded=False)
    short, model = SnapshotBuilder(clocks, identity), SnapshotBuilder(clocks, identity)
    clock.advance(seconds)
    write = short.record_without_reports(NO_REPORTS, state)
    assert write == model.record(NO_REPORTS, Result(state))
    clock.advance(1)
    assert short.last == model.last
    assert short.last is short.last is not None
    assert short.record_without_reports(NO_REPORTS, state) is None, "there was a record"


@pytest.mark.parametrize("report", ["advance", "description", "meta", "total", "cancel", "sample", "result", "part"])
def test_a_job_that_has_reported_anything_ends_with_it(report: str) -> None:
    clock = FakeClock()
    kit = Kit(backend=MemoryBackend(clock), clock=clock, threaded=False, interval=1, lease=60, expose_results=True)
    part = PartIdentity("group", "", 1) if report == "part" else None
    run = Integration(kit).start("task", part=part)
    if report == "advance":
        run.job.advance(0.5)
    elif report == "description":
        run.job.set_progress(0, description="")
    elif report == "meta":
        run.job.update(meta={"rows": 1})
    elif report == "total":
        run.job.update(total=3)
    elif report == "cancel":
        run.job._job.request_cancel()
    elif report == "sample":
        clock.advance(2)
        kit.publisher.step()
    shown: list[Progress] = []
    run.job.attach(shown.append)
    run.succeed(7 if report == "result" else None)
    kit.publisher.step()
    [progress] = shown
    assert (progress.state, progress.version.seq) == (State.SUCCEEDED, 2 if report == "sample" else 1)
    found = {
        "advance": progress.current == 0.5,
        "description": progress.description == "",
        "meta": progress.meta == {"rows": 1},
        "total": progress.total == 3,
        "cancel": progress.cancel_requested,
        "sample": progress.version.seq == 2,
        "result": progress.result == 7,
        "part": progress.part_of == "group",
    }
    assert [name for name, is_shown in found.items() if is_shown] == [report]


def test_observers_get_the_end_of_a_job_without_reports_and_later_reports_are_ignored() -> None:
    clock = FakeClock()
    kit = Kit(backend=MemoryBackend(clock), clock=clock, threaded=False)
    shown: list[Progress] = []
    job = kit.observe("job", kind="short")
    job.attach(shown.append)
    job.succeed()
    job.advance()
    job.set_progress(5, 10, "late")
    kit.publisher.step()
    assert [progress.state for progress in shown] == [State.SUCCEEDED]
    assert shown == [job.progress] == [kit.get("job")]


@given(ids, st.sampled_from((State.PENDING, *FINAL_STATES)), st.none() | texts, st.none() | texts, st.floats(0, 4e9))
def test_an_external_update_without_an_error_is_encoded_as_any_other_record(
    id: str, state: State, kind: str | None, owner: str | None, made: float
) -> None:
    clock = FakeClock()
    clocks = Publisher(MemoryBackend(clock), Settings(), clock, clock, threaded=False)
    write = external_update(clocks, id, state, kind=kind, attempt=2, error=None, made=made, owner=owner)
    now = moment(made)
    progress = Progress(
        id,
        state,
        Version(1, 2, int(state.final)),
        kind,
        created_at=now,
        updated_at=now,
        finished_at=now if state.final else None,
        lease=clocks.lease,
        owner=owner,
    )
    assert write.body == encode(progress)
    assert (write.role, write.token, write.seq) == (Role.EXTERNAL, None, int(state.final))
    assert (write.kind, write.created) == (kind, milliseconds(now))
