"""Records that come from a template are those that the slower way makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progresskit import Kit, Progress, State, Version
from progresskit.config import Settings
from progresskit.integrations import Integration, PartIdentity
from progresskit.job import NO_REPORTS
from progresskit.memory import MemoryBackend
from progresskit.progress import FINAL_STATES, ID_ALPHABET, Role, encode, milliseconds, moment
from progresskit.publisher import Publisher
from progresskit.snapshots import Identity, Result, Sample, SnapshotBuilder, external_update
from progresskit.stages import Work
from progresskit.steps import WHOLE, Step, StepState
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
counts = st.integers(0, 2**53) | st.floats(0, 2**53)
steps = st.builds(Step, texts, st.none() | st.integers(1, 9), st.sampled_from(StepState), st.none() | st.floats(0, 100))
shares = st.none() | st.integers(0, WHOLE - 1)
works = st.builds(
    Work,
    current=counts,
    total=st.none() | st.sampled_from((1, 1.0, 250)) | counts,
    unit=st.none() | texts,
    counted=st.tuples(st.just(0), st.integers(0, 1)),
    is_divided=st.booleans(),
    share=shares,
    steps=st.none() | st.tuples(steps),
    step=st.none() | st.integers(1, 9),
)
metas = st.dictionaries(st.sampled_from(("rate", "current", "updated_at", 'a"b')), st.integers() | texts, max_size=2)
samples = st.builds(Sample, works, st.none() | texts, metas, st.booleans())
changes_of_work = st.fixed_dictionaries(
    {"current": counts},
    optional={
        "total": st.sampled_from((None, 1, 1.0, 250)),
        "unit": st.sampled_from((None, "B")),
        "share": shares,
        "steps": st.none() | st.tuples(steps),
        "step": st.sampled_from((None, 1)),
    },
)
changes_of_texts = st.fixed_dictionaries(
    {}, optional={"description": st.none() | texts, "meta": metas, "cancel_requested": st.booleans()}
)
turns = st.lists(
    st.tuples(changes_of_work, st.just({}) | changes_of_texts, st.floats(0, 1e6), st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=40)
@given(identities, samples, turns, ends, st.floats(0, 4e9))
def test_a_running_job_of_which_the_count_alone_changes_is_encoded_as_any_other_record(
    identity: Identity,
    sample: Sample,
    turns: list[tuple[dict[str, Any], dict[str, Any], float, bool]],
    end: State,
    created: float,
) -> None:
    clock = FakeClock(created)
    clocks = Publisher(MemoryBackend(clock), Settings(), clock, clock, threaded=False)
    builder, shown = SnapshotBuilder(clocks, identity), SnapshotBuilder(clocks, identity)
    assert builder.record(sample) == shown.record(sample)
    for seq, (work, others, seconds, is_stored) in enumerate(turns, 2):
        if is_stored:
            builder.mark_stored(3, None)
            shown.mark_stored(3, None)
        clock.advance(seconds)
        sample = sample._replace(work=sample.work._replace(**work), **others)
        write = builder.record(sample)
        assert write == shown.record(sample)
        last = shown.last
        assert last is not None
        assert last is shown.last
        assert write.body == encode(last)
        assert write[1:8] == (
            Role.UPDATE if builder.started else identity.start,
            identity.token,
            builder.run,
            identity.attempt,
            seq,
            State.RUNNING,
            identity.kind,
        )
        assert (last.version.run, write.created) == (builder.run or 1, milliseconds(last.created_at))
        assert (last.current, last.meta) == (sample.work.current, sample.meta)
        assert (last.cancel_requested, last.updated_at) == (sample.cancel_requested, moment(clock()))
    clock.advance(1)
    write = builder.record(sample, Result(end))
    assert write == shown.record(sample, Result(end))
    ended = shown.last
    assert ended is not None
    assert builder.last == ended
    assert write.body == encode(ended)


def test_equal_values_of_other_types_are_encoded_as_what_they_are() -> None:
    clock = FakeClock()
    clocks = Publisher(MemoryBackend(clock), Settings(), clock, clock, threaded=False)
    builder = SnapshotBuilder(clocks, Identity("job", "token"))
    work = Work(1, 4, None, (0, 0))
    one, true = {"rows": 1}, {"rows": True}
    bodies = [
        builder.record(Sample(work._replace(total=total), None, meta, cancel_requested=False)).body
        for total, meta in ((4, one), (4.0, one), (4.0, true))
    ]
    shown = [(loaded["total"], loaded["meta"]["rows"]) for loaded in map(json.loads, bodies)]
    assert repr(shown) == "[(4, 1), (4.0, 1), (4.0, True)]"


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
