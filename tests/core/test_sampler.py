"""Which live jobs have something to be written, by the times that the sampler is given."""

from __future__ import annotations

import gc

import pytest

from progresskit import Kit, ProgressObserver
from progresskit.job import Job
from progresskit.observer import job_of
from progresskit.sampler import Sampler
from progresskit.testing import FakeClock

INTERVAL, HEARTBEAT = 0.1, 10.0


@pytest.fixture
def sampler() -> Sampler:
    return Sampler(INTERVAL, HEARTBEAT)


@pytest.fixture
def job(kit: Kit, sampler: Sampler) -> ProgressObserver:
    return make(kit, sampler, "job")


def make(kit: Kit, sampler: Sampler, id: str, now: float = 0.0) -> ProgressObserver:
    job = kit.observe(id)
    sampler.register(job_of(job), now)
    assert [new for new, _ in sampler.take_new(now)] == [job_of(job)]
    return job


def sampled(sampler: Sampler, now: float, *, all_changes: bool = False) -> list[str]:
    return [sample.write.id for sample in sampler.sample(now, all_changes=all_changes)]


def test_a_new_job_is_sampled_at_once_and_an_unchanged_one_not_again(sampler: Sampler, job: ProgressObserver) -> None:
    assert sampled(sampler, 0.0) == ["job"]
    assert sampled(sampler, INTERVAL) == []
    job.advance()
    assert sampled(sampler, 2 * INTERVAL) == ["job"]


def test_a_job_that_changes_all_the_time_is_sampled_once_per_interval_unless_all_changes_are_wanted(
    sampler: Sampler, job: ProgressObserver
) -> None:
    sampled(sampler, 0.0)
    job.advance()
    assert sampled(sampler, INTERVAL / 2) == []
    assert sampled(sampler, INTERVAL / 2, all_changes=True) == ["job"]


def test_an_unchanged_job_is_sent_again_as_a_heartbeat(sampler: Sampler, job: ProgressObserver) -> None:
    (first,) = sampler.sample(0.0)
    assert sampled(sampler, HEARTBEAT - 0.1) == []
    (second,) = sampler.sample(HEARTBEAT)
    assert (second.write.body, second.write.seq) == (first.write.body, first.write.seq)
    assert sampled(sampler, HEARTBEAT + 1) == []


def test_a_sample_names_when_its_run_began(kit: Kit, sampler: Sampler, clock: FakeClock) -> None:
    clock.advance(7)
    began = clock()
    job = make(kit, sampler, "job", clock())
    clock.advance(5)
    assert [sample.since for sample in sampler.sample(clock())] == [began]
    del job


def test_rounds_are_due_while_a_job_is_live(kit: Kit, sampler: Sampler, clock: FakeClock) -> None:
    assert sampler.due is None
    job = make(kit, sampler, "job", 5.0)
    assert sampler.due == 5.0
    sampled(sampler, 5.0)
    assert sampler.due == pytest.approx(5.0 + INTERVAL)
    sampled(sampler, 5.0 + 1.3 * INTERVAL)
    assert sampler.due == pytest.approx(5.0 + 2 * INTERVAL), "a late round keeps the rhythm"
    sampled(sampler, 6.0)
    assert sampler.due == pytest.approx(6.0 + INTERVAL), "rounds that were missed are not made up for"
    sampler.remove(job_of(job).token)
    assert sampler.due is None
    assert len(sampler) == 0


def test_a_job_that_was_dropped_is_removed(kit: Kit, sampler: Sampler) -> None:
    kept, dropped = make(kit, sampler, "kept"), make(kit, sampler, "dropped")
    assert not sampler.remove_dropped()
    job_of(dropped).detach()  # or its finalizer would keep it until its end is published
    del dropped
    gc.collect()
    assert sampled(sampler, 0.0) == ["kept"]
    assert sampler.remove_dropped()
    assert not sampler.remove_dropped()
    assert sampler.jobs() == [job_of(kept)]
    assert len(sampler) == 1


def test_a_job_that_cannot_be_sampled_is_logged_once_and_harms_no_other(
    kit: Kit, sampler: Sampler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sample = Job.sample

    def failing(job: Job) -> object:
        if job.id == "bad":
            raise RuntimeError("a mistake of ours")
        return sample(job)

    monkeypatch.setattr(Job, "sample", failing)
    jobs = [make(kit, sampler, "bad"), make(kit, sampler, "good")]
    assert [sampled(sampler, now) for now in (0.0, 1.0, 2.0)] == [["good"], [], []]
    assert len(caplog.records) == 1
    del jobs


def test_the_last_records_of_live_jobs_can_be_written_again(kit: Kit, sampler: Sampler) -> None:
    first, second = make(kit, sampler, "first"), make(kit, sampler, "second")
    assert list(sampler.latest()) == [], "they have none yet"
    samples = list(sampler.sample(0.0))
    first.advance()
    assert list(sampler.latest()) == samples, "not what was reported since"
    del second


def test_a_job_learns_the_run_in_which_it_is_stored(kit: Kit, sampler: Sampler) -> None:
    job = make(kit, sampler, "job")
    sampled(sampler, 0.0)
    sampler.mark_stored(job_of(job).token, 3, None)
    assert job.progress.version.run == 3
    sampler.mark_stored("unknown", 4, None)
    sampler.mark_stored(None, 4, None)
    assert job.progress.version.run == 3
