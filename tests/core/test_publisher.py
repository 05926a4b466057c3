"""What is written, when, and what becomes of it while the backend is away: round by round, by an injected clock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from time import monotonic

import pytest

from progresskit import (
    BackendError,
    BackendUnavailable,
    FlushTimeout,
    Kit,
    Progress,
    ProgressObserver,
    State,
    Version,
    outbox,
    publisher,
)
from progresskit.backoff import FIRST_SECONDS, LONGEST_SECONDS
from progresskit.cancels import ASK_SECONDS
from progresskit.integrations import Integration
from progresskit.job import Job
from progresskit.memory import MemoryBackend
from progresskit.observer import job_of
from progresskit.outbox import BATCH, RECENT_SECONDS
from progresskit.progress import Role, Write
from progresskit.testing import FakeClock, RecordingObserver, start

from .doubles import FlakyBackend

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]

INTERVAL = 0.1
HEARTBEAT = 10.0
LEASE = 30.0


# When something is written.


def test_a_job_is_running_from_the_first_round(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job", total=10, description="Importing", kind="import")
    step()
    progress = stored("job")
    assert (progress.state, progress.version, progress.total) == (State.RUNNING, Version(1, 1, 1), 10)
    assert (progress.description, progress.kind) == ("Importing", "import")
    del job


def test_nothing_is_written_in_the_thread_of_the_job(kit: Kit, backend: FlakyBackend) -> None:
    with kit.observe("job") as job:
        for _ in range(100):
            job.advance()
        job.update(description="new", meta={"a": 1})
    assert backend.batches == []


def test_many_calls_make_one_record(kit: Kit, step: Step, backend: FlakyBackend, stored: Stored) -> None:
    job = kit.observe("job")
    step()
    for _ in range(1_000):
        job.advance()
    step(INTERVAL)
    assert len(backend.written) == 2
    assert stored("job").current == 1_000


def test_a_round_that_takes_long_writes_what_it_has_sampled(backend: FlakyBackend) -> None:
    clock = FakeClock()

    def moving() -> float:
        clock.advance(INTERVAL)
        return clock()

    kit = Kit(backend=backend, clock=moving, threaded=False)
    job = kit.observe("job", total=9)
    for number in range(1, 10):
        job.advance()
        kit.publisher.step()
        assert len(backend.written) == number


def test_a_busy_job_is_written_once_in_an_interval_and_the_rest_later(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    job, times = kit.observe("job"), list[float]()
    step()
    for _ in range(1_000):
        job.advance()
        step(INTERVAL / 10)
        times += [kit.publisher.clock()] * (len(backend.written) - 1 - len(times))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 0.9 * INTERVAL - 1e-6 <= min(gaps)
    assert max(gaps) <= 1.1 * INTERVAL
    step(INTERVAL)
    assert stored("job").current == 1_000


def test_an_unchanged_job_is_not_written_before_its_heartbeat(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    job = kit.observe("job")
    step()
    step(HEARTBEAT - 0.5)
    assert len(backend.written) == 1
    step(0.5)
    first, second = backend.written
    assert (second.role, second.seq, second.body, second.run) == (Role.UPDATE, first.seq, first.body, 1)
    del job


def test_a_job_that_makes_no_progress_is_never_stalled_while_it_lives(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job")
    for _ in range(400):
        step(0.5)
        assert not stored("job").stalled
    assert stored("job").version == Version(1, 1, 1)
    del job


@pytest.mark.parametrize("ttl", [60, 5])  # one that is shorter than the lease, too
def test_a_heartbeat_keeps_a_job_longer_than_its_ttl(backend: FlakyBackend, clock: FakeClock, ttl: float) -> None:
    kit = Kit(backend=backend, clock=clock, threaded=False, ttl=ttl)
    job = kit.observe("job")
    for _ in range(100):
        kit.publisher.step()
        clock.advance(ttl / 4)
        assert "job" in backend.store.read(["job"])
    del job


def test_the_rounds_are_an_interval_apart_while_a_job_lives_and_there_are_none_without(kit: Kit, step: Step) -> None:
    assert step() is None
    job = kit.observe("job")
    step()
    for _ in range(20):
        delay = step(INTERVAL)
        assert delay is not None
        assert 0 < delay <= INTERVAL + 1e-6
    job.succeed()
    assert step() is None


def test_news_after_a_quiet_time_are_written_at_once(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job")
    for _ in range(20):
        step(INTERVAL)
    job.advance()
    step(0.01)
    assert stored("job").current == 1


def test_a_late_round_keeps_the_beat(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    # Rounds that are late by a tenth each time must not add up to fewer records than there are intervals.
    job, began = kit.observe("job"), kit.publisher.clock()
    delay = step()
    while kit.publisher.clock() < began + 100 * INTERVAL:
        job.advance()
        assert delay is not None
        delay = step(delay + INTERVAL / 10)
    assert 98 <= len(backend.written) <= 102


def test_an_end_is_written_by_the_next_round_however_soon_that_is(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job")
    step()
    job.advance(3)
    job.succeed()
    step(0.001)
    assert (stored("job").state, stored("job").current, stored("job").percent) == (State.SUCCEEDED, 3, 100)


def test_a_job_that_began_and_ended_between_two_rounds_is_one_record(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    with kit.observe("job") as job:
        job.advance()
    step()
    (write,) = backend.written
    assert (write.role, write.state) == (Role.START, State.SUCCEEDED)
    assert stored("job").done


def test_many_jobs_share_a_batch_and_many_more_share_a_few(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    jobs = [kit.observe(f"job-{number}") for number in range(2 * BATCH + 1)]
    step()
    assert [len(batch) for batch in backend.batches] == [BATCH, BATCH, 1]
    del jobs


def test_a_batch_holds_an_id_once_even_when_two_jobs_have_it(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    first, second = kit.observe("job", description="first"), kit.observe("job", description="second")
    step()
    assert all(len({write.id for write in batch}) == len(batch) for batch in backend.batches)
    assert (stored("job").description, stored("job").version.run) == ("second", 2)
    first.succeed()
    second.fail("no")
    step()
    assert stored("job").state is State.FAILED


def test_the_run_that_the_backend_returned_goes_with_later_records(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    backend.store.write([start("job", state=State.SUCCEEDED)])
    job = kit.observe("job")
    step()
    job.advance()
    step(INTERVAL)
    assert (backend.written[-1].role, backend.written[-1].run) == (Role.UPDATE, 2)
    job.succeed()
    step()
    assert stored("job").version.run == 2


def test_what_is_shown_in_the_process_has_the_run_that_the_backend_returned(
    kit: Kit, step: Step, backend: FlakyBackend
) -> None:
    backend.store.write([start("job", state=State.SUCCEEDED)])
    job, observer = kit.observe("job"), RecordingObserver()
    job.attach(observer)
    step()
    assert job.progress.version.run == 2
    assert [progress.version.run for progress in observer.records] == [2]


# Requests to cancel.


def test_the_backend_is_asked_once_a_second_for_all_jobs_together(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    jobs = [kit.observe(f"job-{number}") for number in range(5)]
    for _ in range(200):
        step(0.05)
    assert 10 <= len(backend.asked) <= 11
    assert set(backend.asked) == {frozenset(job.id for job in jobs)}


def test_nobody_is_asked_when_no_job_lives(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    with kit.observe("job"):
        pass
    for _ in range(100):
        step(0.1)
    assert backend.asked == []


def test_a_request_reaches_a_job_within_a_second_even_when_nothing_changes(
    kit: Kit, step: Step, backend: FlakyBackend
) -> None:
    job = kit.observe("job")
    for _ in range(37):
        step(INTERVAL)
    backend.store.request_cancel(["job"])
    waited = 0.0
    while not job.cancel_requested and waited < 5:
        delay = step(INTERVAL)
        waited += INTERVAL
        assert delay is not None
    assert waited <= ASK_SECONDS + INTERVAL


def test_a_request_that_came_while_the_job_was_pending_is_known_soon(
    kit: Kit, step: Step, backend: FlakyBackend
) -> None:
    Integration(kit).enqueued("job")
    step()
    assert kit.cancel("job")
    job = kit.observe("job")
    for _ in range(4):
        step(INTERVAL)
    assert job.cancel_requested


def test_requests_that_cannot_be_asked_for_are_asked_for_again(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    job = kit.observe("job")
    step()
    kit.cancel("job")
    backend.down = True
    for _ in range(30):
        step(INTERVAL)
    assert not job.cancel_requested
    backend.down = False
    for _ in range(60):
        step(INTERVAL)
    assert job.cancel_requested


# While the backend is away.


def test_the_job_does_not_notice_and_the_newest_record_is_stored_afterwards(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    backend.down = True
    job = kit.observe("job")
    for number in range(50):
        job.set_progress(number, 100, f"step {number}")
        step(INTERVAL)
    assert job.dropped == 0
    backend.down = False
    step(LONGEST_SECONDS)
    assert (stored("job").current, stored("job").description) == (49, "step 49")


def test_an_end_is_kept_until_it_is_stored(kit: Kit, step: Step, backend: FlakyBackend, stored: Stored) -> None:
    job = kit.observe("job")
    step()
    backend.down = True
    job.advance(7)
    job.fail(ValueError("no"))
    for _ in range(1_000):
        step(1)
    backend.down = False
    step(LONGEST_SECONDS)
    assert (stored("job").state, stored("job").current) == (State.FAILED, 7)


def test_it_is_tried_again_after_longer_and_longer_times_of_which_half_is_chance(
    kit: Kit, step: Step, backend: FlakyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts, rounds = [], 0
    clock = kit.publisher.clock

    def write(batch: object) -> dict[str, int]:
        attempts.append(clock())
        raise BackendUnavailable("no")

    monkeypatch.setattr(backend, "write", write)
    job = kit.observe("job")
    delay = step()
    while len(attempts) < 30:
        assert delay is not None
        delay, rounds = step(delay), rounds + 1
    assert rounds < 12 * (clock() - attempts[0]), "and nothing is done in between but what is due each interval"
    gaps = [later - earlier for earlier, later in pairwise(attempts)]
    for number, gap in enumerate(gaps):
        expected = min(FIRST_SECONDS * 2**number, LONGEST_SECONDS)
        assert expected / 2 - 1e-6 <= gap <= expected + INTERVAL + 1e-6
    assert len({round(gap, 3) for gap in gaps[-10:]}) > 3, "processes that lost one server must not return in step"
    del job


def test_one_warning_is_logged_however_long_it_lasts_and_a_word_when_it_is_over(
    kit: Kit, step: Step, backend: FlakyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "progresskit")
    backend.down = True
    job = kit.observe("job")
    for _ in range(100):
        job.advance()
        step(1)
    backend.down = False
    step(LONGEST_SECONDS)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_memory_is_bounded_by_the_live_jobs(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    backend.down = True
    jobs = [kit.observe(f"job-{number}") for number in range(10)]
    for _ in range(200):
        for job in jobs:
            job.advance()
        step(INTERVAL)
    assert len(kit.publisher._rounds.outbox) == 10


def test_ends_that_wait_for_the_backend_are_bounded_and_what_is_given_up_is_counted_and_logged_once(
    kit: Kit,
    step: Step,
    backend: FlakyBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stored: Stored,
) -> None:
    monkeypatch.setattr(outbox, "UNSENT", 50)
    backend.down = True
    live = kit.observe("live")
    for number in range(80):
        with kit.observe(f"job-{number}"):
            pass
        step(INTERVAL)
    assert kit.publisher.lost in (30, 31)
    backend.down = False
    step(LONGEST_SECONDS)
    kept = backend.store.read([f"job-{number}" for number in range(80)])
    assert len(kept) == 80 - kit.publisher.lost
    assert f"job-{79}" in kept, "the oldest are given up, not the newest"
    assert stored("live").state is State.RUNNING
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    del live


def test_what_a_restarted_server_forgot_is_sent_again_the_ends_of_the_last_seconds_included(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    backend.store.write([start("live", state=State.FAILED), start("ended", state=State.FAILED)])
    live = kit.observe("live")
    old, ended = kit.observe("old"), kit.observe("ended")
    step()
    old.succeed()
    step(1)
    step(RECENT_SECONDS)
    ended.succeed()
    live.advance(5)
    step(1)
    assert [stored(id).version.run for id in ("live", "ended")] == [2, 2]
    backend.down = True
    live.advance()
    step(1)
    backend.lose_everything()
    backend.down = False
    step(LONGEST_SECONDS)
    step(LONGEST_SECONDS)
    assert (stored("live").version.run, stored("live").current) == (2, 6)
    assert (stored("ended").version.run, stored("ended").state) == (2, State.SUCCEEDED)
    assert backend.store.read(["old"]) == {}


def test_a_quiet_job_too_is_sent_again_when_the_server_is_back(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    quiet, busy = kit.observe("quiet"), kit.observe("busy")
    step()
    step(INTERVAL)
    backend.down = True
    busy.advance()
    step(INTERVAL)
    backend.lose_everything()
    backend.down = False
    step(LONGEST_SECONDS)
    step(LONGEST_SECONDS)
    assert stored("quiet").version == Version(1, 1, 1)
    del quiet


def test_a_start_whose_answer_was_lost_is_not_a_second_run(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    backend.deaf = True
    job = kit.observe("job")
    step()
    job.advance()
    step(INTERVAL)
    backend.deaf = False
    step(LONGEST_SECONDS)
    assert stored("job").version.run == 1
    assert stored("job").current == 1


# What a backend refuses, and errors that should not be.


def test_a_record_that_is_refused_does_not_keep_others_from_being_stored(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    backend.refused = {"bad"}
    jobs = [kit.observe(id) for id in ("a", "bad", "b")]
    step()
    assert backend.store.read(["a", "bad", "b"]).keys() == {"a", "b"}
    assert kit.publisher.lost == 1
    backend.refused = set()
    for job in jobs:
        job.succeed()
    step(INTERVAL)
    assert stored("bad").state is State.SUCCEEDED, "the next record is tried again"
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


def test_a_backend_that_refuses_the_only_record_there_is_and_answers_otherwise_is_not_down(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    backend.refused = {"bad"}
    job = kit.observe("bad", cancellable=True)
    for _ in range(30):
        job.advance()
        step(INTERVAL)
    assert not kit.publisher.down
    assert backend.asked, "it is still asked which jobs are to stop"
    job.succeed()
    step(INTERVAL)
    backend.refused = set()
    step(LONGEST_SECONDS)
    assert (stored("bad").state, stored("bad").current) == (State.SUCCEEDED, 30), "it was kept"
    assert kit.publisher.lost == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_refused_record_that_waits_is_seldom_tried_and_holds_up_no_other(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    backend.refused = {"bad"}
    with kit.observe("bad"):
        pass
    began = kit.publisher.clock()
    delay = step()
    while kit.publisher.clock() < began + 60:
        assert delay is not None
        delay = step(delay)
    assert len(backend.written) < 100
    job = kit.observe("good")
    step()
    assert stored("good").state is State.RUNNING
    assert kit.publisher.lost == 1, "it is known now that it is this record, and not all of them"
    del job


def test_a_backend_that_comes_back_and_refuses_a_record_is_up_and_sent_again_what_it_forgot(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    quiet, bad = kit.observe("quiet"), kit.observe("bad")
    step()
    step(INTERVAL)
    backend.down, backend.refused = True, {"bad"}
    bad.advance()
    step(INTERVAL)
    assert kit.publisher.down
    backend.lose_everything()
    backend.down = False
    step(LONGEST_SECONDS)
    assert not kit.publisher.down
    assert stored("quiet").version == Version(1, 1, 1)
    del quiet


def test_a_backend_that_refuses_all_records_or_answers_nothing_is_down_and_all_is_kept(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.refused = {"a", "b"}
    jobs = [kit.observe(id) for id in ("a", "b")]
    step()
    assert kit.publisher.down
    for job in jobs:
        job.succeed()
    backend.refused = set()
    step(LONGEST_SECONDS)
    assert not kit.publisher.down
    assert [stored(id).state for id in ("a", "b")] == [State.SUCCEEDED] * 2
    step(RECENT_SECONDS)
    step()

    def refuse(asked: object) -> dict[str, int]:
        raise BackendError("you may not come in")

    monkeypatch.setattr(backend, "write", refuse)
    monkeypatch.setattr(backend, "cancel_requested", refuse)
    last = kit.observe("last")
    step()
    assert kit.publisher.down
    del last


ERRORS = [RuntimeError("?"), KeyError("?"), RecursionError(), UnicodeEncodeError("u", "", 0, 1, "?")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_the_backend_raises_it_is_tried_again_and_nothing_is_lost(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored, error: Exception
) -> None:
    backend.broken = error
    job = kit.observe("job")
    for _ in range(20):
        job.advance()
        step(INTERVAL)
    job.succeed()
    step(INTERVAL)
    backend.broken = None
    step(LONGEST_SECONDS)
    assert (stored("job").state, stored("job").current) == (State.SUCCEEDED, 20)
    assert kit.publisher.lost == 0


def test_a_job_that_cannot_be_sampled_does_not_keep_the_others_from_being_written(
    kit: Kit, step: Step, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Job.sample

    def failing(job: Job) -> object:
        if job.id == "bad":
            raise RuntimeError("a mistake of ours")
        return sample(job)

    monkeypatch.setattr(Job, "sample", failing)
    jobs = [kit.observe("bad"), kit.observe("good")]
    step()
    assert stored("good").state is State.RUNNING
    del jobs


# With its thread.


def test_the_thread_starts_with_the_first_job_and_ends_with_the_kit(make_kit: Callable[..., Kit]) -> None:
    before = set(threading.enumerate())

    def running() -> int:
        return sum(t.name == "progresskit-publisher" for t in threading.enumerate() if t not in before)

    kit = make_kit(url="memory://")
    assert running() == 0
    with kit.observe("job"):
        assert running() == 1
    kit.close()
    assert running() == 0


def test_the_end_of_a_job_returns_when_its_record_is_stored(make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(backend=MemoryBackend(), flush_seconds=30)
    for number in range(20):
        with kit.observe(f"job-{number}"):
            pass
        progress = kit.get(f"job-{number}")
        assert progress is not None
        assert progress.state is State.SUCCEEDED


@pytest.mark.timing
def test_the_end_of_a_job_waits_for_a_backend_that_hangs_as_long_as_is_allowed_and_no_longer(
    make_kit: Callable[..., Kit],
) -> None:
    backend = FlakyBackend(monotonic)
    backend.hang = threading.Event()
    kit = make_kit(backend=backend, flush_seconds=0.2)
    began = monotonic()
    with kit.observe("job"):
        pass
    assert 0.2 <= monotonic() - began < 5
    backend.hang.set()
    kit.flush(60)
    assert backend.store.read(["job"])["job"].done


def test_a_job_that_ends_after_its_kit_was_closed_under_a_hanging_backend_waits_for_the_thread_that_hangs(
    make_kit: Callable[..., Kit],
) -> None:
    class Counting(FlakyBackend):
        inside, most = 0, 0

        def write(self, batch: Sequence[Write]) -> dict[str, int]:
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                return super().write(batch)
            finally:
                self.inside -= 1

    backend = Counting(monotonic)
    backend.hang = threading.Event()
    kit = make_kit(backend=backend, flush_seconds=0.1)
    job = kit.observe("job")
    assert backend.hanging.wait(60)
    kit.close()
    job.succeed()
    backend.hang.set()
    assert [progress.state for progress in kit.watch("job")][-1] is State.SUCCEEDED
    assert backend.most == 1, "never two threads at the same records"


def test_a_job_that_ends_while_its_kit_is_being_closed_is_stored(make_kit: Callable[..., Kit]) -> None:
    class Slow(FlakyBackend):
        """Answers when the test says so which jobs are to stop, and is asked in the round that has written at last."""

        held, answer = threading.Event(), threading.Event()

        def write(self, batch: Sequence[Write]) -> dict[str, int]:
            clock.advance(ASK_SECONDS if self.batches else 0)
            return super().write(batch)

        def cancel_requested(self, ids: Collection[str]) -> set[str]:
            self.held.set()
            assert self.answer.wait(60)
            return super().cancel_requested(ids)

    clock = FakeClock()
    backend = Slow(clock)
    kit = make_kit(backend=backend, clock=clock)
    job = kit.observe("job")
    kit.flush()
    job.advance()
    closing = threading.Thread(target=kit.close)
    closing.start()
    assert backend.held.wait(60)
    closing.join(0.2)  # until it asks the thread to end, which is not to be seen from here
    job_of(job).end(State.SUCCEEDED, wait=False)
    backend.answer.set()
    closing.join(60)
    assert not closing.is_alive()
    deadline = monotonic() + 60
    while not backend.store.read(["job"])["job"].done:
        assert monotonic() < deadline


def test_the_end_of_a_job_does_not_wait_for_a_backend_that_is_known_to_be_down(make_kit: Callable[..., Kit]) -> None:
    backend = FlakyBackend(monotonic)
    backend.down = True
    kit = make_kit(backend=backend, flush_seconds=600)
    with kit.observe("first"):
        pass  # returns when the backend is found to be down
    assert kit.publisher.down
    for number in range(10):
        with kit.observe(f"job-{number}"):
            pass
    backend.down = False
    kit.flush(60)
    assert len(backend.store.read([f"job-{number}" for number in range(10)])) == 10


def test_flush_returns_when_all_is_stored_and_raises_when_that_takes_too_long(make_kit: Callable[..., Kit]) -> None:
    backend = FlakyBackend(monotonic)
    kit = make_kit(backend=backend, flush_seconds=1)
    kit.flush()  # nothing was reported yet
    job = kit.observe("job")
    for number in range(1, 20):
        job.set_progress(number)
        kit.flush(60)
        assert backend.store.read(["job"])["job"].current == number
    backend.down = True
    job.advance()
    with pytest.raises(FlushTimeout, match="not stored"):
        kit.flush(0.05)
    backend.down = False
    kit.flush(60)
    assert backend.store.read(["job"])["job"].current == 20


def test_flush_of_nothing_new_asks_nothing_of_a_backend_that_is_down(make_kit: Callable[..., Kit]) -> None:
    backend = FlakyBackend(monotonic)
    kit = make_kit(backend=backend)
    job = kit.observe("job")
    kit.flush(60)
    backend.down = True
    kit.flush(60)
    backend.down = False
    del job


def test_an_error_that_should_not_be_does_not_end_the_thread(
    make_kit: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publisher, "LONGEST_SECONDS", 0.02)
    kit = make_kit(backend=FlakyBackend(monotonic), interval=0.01)
    failures = iter([RuntimeError("first"), ZeroDivisionError("second")])
    sample = Job.sample

    def failing(job: Job) -> object:
        for error in failures:
            raise error
        return sample(job)

    monkeypatch.setattr(Job, "sample", failing)
    job = kit.observe("job")
    job.advance()
    kit.flush(60)
    job.succeed()
    progress = kit.get("job")
    assert progress is not None
    assert (progress.state, progress.current) == (State.SUCCEEDED, 1)
    assert any(record.exc_info for record in caplog.records), "seen in the log"


def test_a_backend_that_was_given_is_never_closed(backend: FlakyBackend, clock: FakeClock) -> None:
    kit = Kit(backend=backend, clock=clock)
    with kit.observe("job"):
        pass
    kit.close()
    assert backend.closed == 0


def test_a_flush_raises_where_the_backend_refuses_a_record(make_kit: Callable[..., Kit]) -> None:
    class Refusing(MemoryBackend):
        def write(self, batch: Sequence[Write]) -> dict[str, int]:
            if any(write.id == "bad" for write in batch):
                raise ValueError("too long")
            return super().write(batch)

    kit = make_kit(backend=Refusing())
    jobs = [kit.observe("good"), kit.observe("bad")]
    with pytest.raises(BackendError, match="job bad"):
        kit.flush(5)
    assert set(kit.get_many(["good", "bad"])) == {"good"}
    for job in jobs:
        job.succeed()


def test_a_flush_raises_at_once_where_the_only_record_is_refused_and_the_end_of_the_job_waits_for_nothing(
    make_kit: Callable[..., Kit],
) -> None:
    backend = FlakyBackend(monotonic)
    backend.refused = {"bad"}
    kit = make_kit(backend=backend, flush_seconds=5)
    job = kit.observe("bad")
    with pytest.raises(BackendError, match="job bad"):
        kit.flush(5)
    job.succeed()
    assert not kit.publisher.down


@pytest.fixture
def refused(make_kit: Callable[..., Kit]) -> tuple[Kit, FlakyBackend, ProgressObserver]:
    """Give a kit whose backend has refused a record of the job `bad`, which is known by now, and has taken others."""
    backend = FlakyBackend(monotonic)
    backend.refused, backend.hang = {"bad"}, threading.Event()
    kit = make_kit(backend=backend, flush_seconds=30)
    with kit.observe("first"):
        assert backend.hanging.wait(60)
        job = kit.observe("bad")
        Integration(kit).enqueued("good")
        backend.hang.set()  # what came meanwhile goes out together
    with kit.observe("later"):
        pass
    assert kit.publisher.lost == 1
    return kit, backend, job


def test_a_flush_raises_once_for_what_was_refused_before(refused: tuple[Kit, FlakyBackend, ProgressObserver]) -> None:
    kit, backend, _ = refused
    with pytest.raises(BackendError, match="a record of job bad is not stored: the backend refuses it: no"):
        kit.flush(60)
    kit.flush(60)
    assert backend.store.read(["first", "good", "later", "bad"]).keys() == {"first", "good", "later"}


def test_a_flush_that_gave_up_waiting_leaves_what_was_refused_to_the_next(
    refused: tuple[Kit, FlakyBackend, ProgressObserver],
) -> None:
    kit, backend, _ = refused
    backend.hang = threading.Event()
    Integration(kit).enqueued("another")
    with pytest.raises(FlushTimeout):
        kit.flush(0.05)
    backend.hang.set()
    with pytest.raises(BackendError, match="job bad"):
        kit.flush(60)


def test_a_flush_says_nothing_of_what_was_refused_if_a_newer_record_of_the_job_is_stored(
    refused: tuple[Kit, FlakyBackend, ProgressObserver],
) -> None:
    kit, backend, job = refused
    backend.refused = set()
    job.set_progress(7)
    kit.flush(60)
    assert backend.store.read(["bad"])["bad"].current == 7


def test_an_external_end_goes_out_behind_the_start_it_came_after(
    kit: Kit, step: Step, backend: FlakyBackend, stored: Stored
) -> None:
    backend.down = True
    Integration(kit).enqueued("job")
    step()
    job = kit.observe("job")
    step()
    Integration(kit).end_externally("job", State.FAILED, error="lost")
    backend.down = False
    step(10)
    step(10)
    assert (stored("job").state, stored("job").version.run) == (State.FAILED, 1)
    job.succeed()


def test_the_older_start_is_reported_at_its_next_write(
    backend: FlakyBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = (Kit(backend=backend, clock=clock, threaded=False) for _ in range(2))
    first = older.observe("job")
    older.publisher.step()
    assert caplog.messages == []
    second = newer.observe("job")
    newer.publisher.step()
    for job in (first, second, first, second):
        job.advance()
        clock.advance(1)
        older.publisher.step()
        newer.publisher.step()
    (message,) = caplog.messages
    assert message.startswith("Job job was started again, by another process perhaps")
    assert backend.store.read(["job"])["job"].version.run == 2
    for job in (first, second):
        job.succeed()
