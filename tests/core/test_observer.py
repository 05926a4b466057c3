"""The job in its own process: opening, joining and children; who ends it and how; those who watch it from within."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import Callable

import pytest

from progresskit import Cancelled, InvalidId, Kit, Progress, ProgressObserver, PublicError, State, Subject
from progresskit.integrations import Integration
from progresskit.observer import job_of
from progresskit.progress import check_id
from progresskit.testing import FakeClock, RecordingObserver

from .doubles import FlakyBackend

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]

# Opening, joining and children.


def test_a_job_without_an_id_gets_a_fresh_one_of_128_bits(kit: Kit) -> None:
    ids = {kit.observe().id for _ in range(50)}
    assert len(ids) == 50
    assert {len(check_id(id)) for id in ids} == {32}


@pytest.mark.parametrize("id", ["", "a b", "-a", "x" * 129, "a/b", 5.0])
def test_an_id_that_is_none_is_refused_at_once(kit: Kit, id: str) -> None:
    uses: list[Callable[[str], object]] = [
        kit.observe,
        kit.get,
        kit.cancel,
        kit.subject,
        lambda id: kit.track([], id=id),
        lambda id: kit.watch("good", id),
    ]
    for use in uses:
        with pytest.raises(InvalidId):
            use(id)


def test_observe_inside_a_job_joins_it(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job", total=10) as job:
        with kit.observe() as joined:
            joined.advance(2)
            joined.update(description="inside")
        with kit.observe("job") as joined:
            joined.advance()
            assert joined.id == "job"
        assert not job.progress.done
        assert (job.progress.current, job.progress.description, job.progress.total) == (3, "inside", 10)
        step()
        assert stored("job").state is State.RUNNING
    step()
    assert stored("job").state is State.SUCCEEDED


def test_joining_may_report_more_about_the_job(kit: Kit) -> None:
    with kit.observe("job") as job, kit.observe(total=5, description="now", unit="rows", meta={"a": 1}):
        progress = job.progress
        assert (progress.total, progress.description, progress.unit, progress.meta) == (5, "now", "rows", {"a": 1})


def test_a_joined_observer_cannot_end_the_job(kit: Kit) -> None:
    with kit.observe("job") as job:
        joined = kit.observe()
        joined.succeed(result=1)
        joined.fail("no")
        with pytest.raises(ValueError, match="inner"), kit.observe():
            raise ValueError("inner")
        assert not job.progress.done
        job.advance()
        assert job.progress.current == 1
    assert (job.progress.state, job.progress.result) == (State.SUCCEEDED, None)


def test_a_task_that_raises_after_an_inner_block_has_failed(kit: Kit) -> None:
    job = kit.observe("job")
    with pytest.raises(ValueError, match="after"), job:
        with kit.observe() as joined:
            joined.advance()
        raise ValueError("after")
    assert job.progress.state is State.FAILED


def test_another_id_inside_a_job_opens_a_child(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job") as job:
        with kit.observe("child") as child:
            assert kit.current().id == "child"
            child.advance(5)
            with kit.observe("grandchild"):
                pass
        assert kit.current().id == "job"
        assert (child.progress.state, job.progress.done) == (State.SUCCEEDED, False)
        assert job.progress.current == 0
    step()
    assert (stored("child").parent, stored("grandchild").parent, stored("job").parent) == ("job", "child", None)


def test_a_child_that_fails_does_not_end_its_parent(kit: Kit) -> None:
    with kit.observe("job") as job:
        with pytest.raises(ValueError, match="no"), kit.observe("child") as child:
            raise ValueError("no")
        assert (child.progress.state, job.progress.done) == (State.FAILED, False)
    assert job.progress.state is State.SUCCEEDED


def test_an_observer_that_is_not_entered_surrounds_nothing(kit: Kit) -> None:
    job = kit.observe("job")
    assert kit.current().id != "job"
    with job:
        assert kit.current().id == "job"
    assert kit.current().id != "job"


# The surrounding job.


def test_current_reports_to_the_surrounding_job(kit: Kit) -> None:
    def deep_in_a_library() -> None:
        kit.current().advance()
        kit.current().update(description="deep")

    with kit.observe("job") as job:
        deep_in_a_library()
        assert (job.progress.current, job.progress.description) == (1, "deep")


def test_current_is_silent_where_there_is_no_job(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    silent = kit.current()
    silent.advance()
    silent.set_progress(5, 10, "text")
    silent.update(meta={"a": 1})
    silent.check_cancelled()
    silent.succeed()
    with silent:
        assert list(kit.current().progress.meta) == []
    step()
    assert backend.written == []
    assert not silent.cancel_requested


def test_a_thread_does_not_inherit_the_job_but_with_a_copied_context(kit: Kit) -> None:
    def work() -> None:
        kit.current().advance()

    with kit.observe("job") as job:
        for target in (work, lambda: contextvars.copy_context().run(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        assert job.progress.current == 0
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
        assert job.progress.current == 1


def test_an_observer_may_be_passed_to_threads(kit: Kit) -> None:
    with kit.observe("job") as job:

        def work() -> None:
            for _ in range(1_000):
                job.advance()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert job.progress.current == 4_000


async def test_each_asyncio_task_has_its_own_surrounding_job(kit: Kit) -> None:
    async def work(id: str) -> str:
        async with kit.observe(id):
            await asyncio.sleep(0)
            return kit.current().id

    ids = [f"job-{number}" for number in range(20)]
    assert await asyncio.gather(*map(work, ids)) == ids


# How it ends.


@pytest.mark.parametrize(("error", "state"), [
    (None, State.SUCCEEDED),
    (ValueError("no"), State.FAILED),
    (Cancelled("job"), State.CANCELLED),
    (asyncio.CancelledError(), State.CANCELLED),
    (KeyboardInterrupt(), State.CANCELLED),
    (GeneratorExit(), State.CANCELLED),
    (MemoryError(), State.FAILED),
    (ExceptionGroup("many", [ValueError("no")]), State.FAILED),
])  # fmt: skip
def test_the_state_at_the_end_is_how_the_block_was_left(
    kit: Kit, step: Step, stored: Stored, error: BaseException | None, state: State
) -> None:
    left_by: BaseException | None = None
    try:
        with kit.observe("job"):
            if error is not None:
                raise error
    except BaseException as caught:
        left_by = caught
    assert left_by is error, "the exception goes on"
    step()
    assert stored("job").state is state
    assert (stored("job").error is not None) == (state is State.FAILED)
    assert stored("job").finished_at is not None


def test_a_queues_own_control_exceptions_are_no_failures(kit: Kit) -> None:
    class Retry(Exception):
        pass

    class RetryLater(Retry):
        pass

    Integration(kit, control_exceptions={Retry: State.RETRYING})
    for error in (Retry(), RetryLater()):
        job = kit.observe()
        with pytest.raises(Retry), job:
            raise error
        assert (job.progress.state, job.progress.error) == (State.RETRYING, None)


def test_an_error_is_kept_by_its_type_and_message_and_only_what_is_meant_for_people_is_shown(kit: Kit) -> None:
    class NoHeader(PublicError):
        pass

    secret, public, text, inner = kit.observe(), kit.observe(), kit.observe(), kit.observe()
    secret.fail(ValueError("password=hunter2"))
    public.fail(NoHeader("The file has no header."))
    text.fail("The disk is full")
    job_of(inner).end(State.FAILED, error="password=hunter2")  # by an integration: from anywhere
    assert secret.progress.error == ("ValueError", "password=hunter2", False)
    assert public.progress.error == ("NoHeader", "The file has no header.", True)
    assert secret.progress.redacted().to_dict()["error"] == {"type": "ValueError", "message": None}
    assert text.progress.redacted().to_dict()["error"] == {"type": "Error", "message": "The disk is full"}
    assert inner.progress.redacted().to_dict()["error"] == {"type": "Error", "message": None}


def test_a_job_can_be_ended_without_a_block(kit: Kit, step: Step, stored: Stored) -> None:
    kit.observe("good").succeed(result={"rows": 5})
    kit.observe("bad").fail(ValueError("no"))
    step()
    assert (stored("good").state, stored("good").result) == (State.SUCCEEDED, {"rows": 5})
    assert stored("bad").state is State.FAILED


def test_the_first_end_counts_and_later_reports_are_nothing(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job") as job:
        job.advance()
        job.fail("first")
        job.succeed()
        job.advance(100)
        job.set_progress(5, 5, "late")
        job.update(description="late", meta={"late": 1}, total=3)
        ended = job.progress
    step()
    assert job.progress == ended
    assert (stored("job").state, stored("job").current, stored("job").description) == (State.FAILED, 1, None)
    assert stored("job").meta == {}
    assert job.dropped == 0


def test_a_failed_job_keeps_its_count_and_a_good_one_is_100_percent(kit: Kit) -> None:
    bad, good = kit.observe(total=100), kit.observe(total=100)
    for job in (bad, good):
        job.advance(29)
    bad.fail("no")
    good.succeed()
    assert (bad.progress.percent, good.progress.percent) == (29, 100)


def test_an_observer_that_is_dropped_without_an_end_is_cancelled(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job")
    job.advance(3)
    step()
    del job
    gc.collect()
    step()
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 3)


def test_a_joined_observer_that_is_dropped_ends_nothing(kit: Kit) -> None:
    with kit.observe("job") as job:
        joined = kit.observe()
        del joined
        gc.collect()
        assert not job.progress.done


PUBLIC = {
    "advance", "attach", "cancel_requested", "cancellable", "check_cancelled", "dropped", "fail", "id", "owner",
    "progress", "set_progress", "step", "succeed", "update",
}  # fmt: skip


def test_a_handle_shows_the_public_interface_only(kit: Kit) -> None:
    opened = kit.observe("job")
    with opened:
        joined = kit.observe()
    for handle in (opened, joined, kit.current()):
        assert isinstance(handle, ProgressObserver)
        assert {name for name in dir(handle) if not name.startswith("_")} == PUBLIC


def test_a_job_may_be_entered_more_than_once_and_ends_with_its_first_block(kit: Kit) -> None:
    job = kit.observe("job")
    with job:
        with job:
            assert kit.current().id == "job"
        assert job.progress.state is State.SUCCEEDED
    assert kit.current().id != "job"


# Cancelling.


def test_a_job_that_is_cancellable_is_stopped_by_its_own_reports(kit: Kit, step: Step) -> None:
    reports: list[Callable[[ProgressObserver], None]] = [
        lambda job: job.advance(),
        lambda job: job.advance(5),
        lambda job: job.set_progress(5),
        lambda job: job.set_progress(5, 10, "text"),
        lambda job: job.update(description="text"),
        lambda job: job.check_cancelled(),
    ]
    for report in reports:
        job = kit.observe("job", cancellable=True)
        step()
        assert kit.cancel("job")
        step(1)
        with pytest.raises(Cancelled), job:
            report(job)
        assert job.progress.state is State.CANCELLED
        step()


def test_a_job_that_is_not_cancellable_is_notified_and_goes_on(kit: Kit, step: Step, stored: Stored) -> None:
    with kit.observe("job") as job:
        step()
        kit.cancel("job")
        step(1)
        assert job.cancel_requested
        job.advance()
        job.set_progress(5)
        with pytest.raises(Cancelled):
            job.check_cancelled()
        assert kit.current().cancel_requested
    assert job.progress.state is State.SUCCEEDED


def test_a_joined_observer_is_stopped_too(kit: Kit, step: Step) -> None:
    with pytest.raises(Cancelled), kit.observe("job", cancellable=True) as job:
        joined = kit.observe()
        step()
        kit.cancel("job")
        step(1)
        with pytest.raises(Cancelled):
            joined.check_cancelled()
        joined.advance()
    assert job.progress.state is State.CANCELLED


def test_the_request_shows_in_the_process_and_in_the_store(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job")
    step()
    kit.cancel("job")
    step(1)
    assert job.progress.cancel_requested
    assert stored("job").cursor.endswith("c")
    assert not kit.cancel("unknown")
    job.succeed()
    step()
    assert not kit.cancel("job")


def test_a_row_that_catches_all_exceptions_does_not_swallow_the_stop(kit: Kit, step: Step) -> None:
    handled = 0
    with pytest.raises(Cancelled), kit.observe("job", cancellable=True) as job:
        step()
        kit.cancel("job")
        for _ in range(10):
            try:
                job.advance()
                handled += 1
                step(1)
            except Exception:
                pytest.fail("swallowed")
    assert handled == 1


# asyncio.


async def test_a_block_of_asyncio_ends_as_others_do(kit: Kit) -> None:
    async with kit.observe("good") as good:
        good.advance()
    bad = kit.observe("bad")
    with pytest.raises(ValueError, match="no"):
        async with bad:
            raise ValueError("no")
    assert (good.progress.state, bad.progress.state) == (State.SUCCEEDED, State.FAILED)


async def test_a_task_that_is_cancelled_leaves_a_cancelled_job(kit: Kit) -> None:
    job, entered = kit.observe("job"), asyncio.Event()

    async def work() -> None:
        async with job:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert job.progress.state is State.CANCELLED


async def test_the_end_of_a_block_never_stalls_the_loop(make_kit: Callable[..., Kit]) -> None:
    from time import monotonic

    backend = FlakyBackend(monotonic)
    backend.hang = threading.Event()
    kit = make_kit(backend=backend, flush_seconds=30)

    async def free_the_backend() -> None:
        # Runs only if the loop does, while the job below waits for its last record to be stored.
        await asyncio.to_thread(backend.hanging.wait, 60)
        assert backend.hang is not None
        backend.hang.set()

    helper = asyncio.create_task(free_the_backend())
    async with kit.observe("job"):
        pass
    assert backend.store.read(["job"])["job"].done
    await helper


# Those who watch from within.


def test_an_observer_is_notified_of_changes_once_each_and_of_the_newest_state_only(kit: Kit, step: Step) -> None:
    job, observer = kit.observe("job", total=1_000), RecordingObserver()
    job.attach(observer)
    step()
    for _ in range(500):
        job.advance()
    step(1)
    step(1)
    step(1)
    job.advance()
    step(1)
    assert [progress.current for progress in observer.records] == [0, 500, 501]


def test_the_final_state_is_reported_before_the_end_returns(kit: Kit) -> None:
    observer = RecordingObserver()
    with kit.observe("job") as job:
        job.attach(observer)
        job.advance(3)
    assert observer.last is not None
    assert (observer.last.state, observer.last.current) == (State.SUCCEEDED, 3)
    assert observer.states == [State.SUCCEEDED]


def test_a_plain_callable_will_do(kit: Kit) -> None:
    received: list[Progress] = []
    with kit.observe("job") as job:
        job.attach(received.append)
    assert [progress.state for progress in received] == [State.SUCCEEDED]


def test_an_observer_that_raises_harms_neither_the_job_nor_the_others(
    kit: Kit, step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def notify(self, progress: Progress) -> None:
            raise RuntimeError("broken observer")

    before, after = RecordingObserver(), RecordingObserver()
    with kit.observe("job") as job:
        for observer in (before, Broken(), after):
            job.attach(observer)
        step()
        job.advance()
    assert before.states == after.states == [State.RUNNING, State.SUCCEEDED]
    assert "broken observer" in caplog.text


def test_who_is_detached_is_sent_nothing_more(kit: Kit, step: Step) -> None:
    job, gone, kept = kit.observe("job"), RecordingObserver(), RecordingObserver()
    detach = job.attach(gone)
    job.attach(kept)
    step()
    detach()
    detach()
    job.advance()
    step(1)
    job.succeed()
    assert (len(gone.records), len(kept.records)) == (1, 3)


def test_an_observer_may_ask_the_job_and_detach_itself_while_it_is_notified(kit: Kit, step: Step) -> None:
    job = kit.observe("job")
    seen: list[float] = []

    def once(progress: Progress) -> None:
        seen.append(job.progress.current)
        detach()

    detach = job.attach(once)
    step()
    job.advance()
    step(1)
    assert seen == [0]


def test_an_observer_attached_inside_a_joined_block_watches_the_job(kit: Kit) -> None:
    observer = RecordingObserver()
    with kit.observe("job"), kit.observe() as joined:
        joined.attach(observer)
    assert observer.states == [State.SUCCEEDED]


def test_they_are_notified_while_the_backend_is_down_too(kit: Kit, step: Step, backend: FlakyBackend) -> None:
    backend.down = True
    observer = RecordingObserver()
    with kit.observe("job") as job:
        job.attach(observer)
        for _ in range(5):
            job.advance()
            step(5)
    assert observer.last is not None
    assert observer.last.state is State.SUCCEEDED
    assert [progress.current for progress in observer.records] == [1, 2, 3, 4, 5, 5]


def test_a_job_is_a_subject_here_and_from_afar(kit: Kit, step: Step) -> None:
    job = kit.observe("job", total=4)
    job.advance()
    step()
    near: Subject = job
    far: Subject = kit.subject("job")
    assert near.progress == far.progress
    assert kit.subject("unknown").progress is None


# What is shown meanwhile.


def test_the_job_as_it_stands_is_shown_between_records_too(kit: Kit, step: Step) -> None:
    job = kit.observe("job", total=10, description="one", unit="rows", kind="import")
    step()
    job.set_progress(3, 12, "two")
    progress = job.progress
    assert (progress.id, progress.state, progress.kind, progress.unit) == ("job", State.RUNNING, "import", "rows")
    assert (progress.current, progress.total, progress.description) == (3, 12, "two")


def test_none_leaves_a_value_as_it_is(kit: Kit) -> None:
    job = kit.observe(total=10, description="one")
    job.set_progress(1)
    job.set_progress(2, None, None)
    job.update(current=None, total=None, description=None, unit=None, meta=None)
    assert (job.progress.current, job.progress.total, job.progress.description) == (2, 10, "one")


def test_the_rate_and_the_time_left_come_with_the_records(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job", total=1_000)
    step()
    for _ in range(50):
        job.advance(2)
        step(0.5)
    assert (stored("job").rate, stored("job").eta) == (4, 225)
    job.succeed()
    step()
    assert stored("job").eta is None


def test_the_time_left_is_right_soon_after_a_preparation(kit: Kit, step: Step, stored: Stored) -> None:
    job = kit.observe("job")
    step(4)
    job.set_progress(0, 1_000)
    for done in range(20, 201, 20):
        step(0.1)
        assert stored("job").eta is None or stored("job").eta == pytest.approx((1_000 - done) / 200, abs=0.2)
        job.set_progress(done)
    step(0.1)
    assert (stored("job").rate, stored("job").eta) == (200, 4)


def test_times_are_those_of_the_wall_clock(kit: Kit, step: Step, clock: FakeClock, stored: Stored) -> None:
    from progresskit.progress import moment

    begun = moment(clock())
    job = kit.observe("job")
    step(5)
    job.advance()
    step(5)
    assert (stored("job").created_at, stored("job").started_at) == (begun, begun)
    assert (stored("job").updated_at, stored("job").finished_at) == (moment(clock()), None)
    step(5)
    job.succeed()
    step()
    assert stored("job").finished_at == moment(clock())


def test_an_observer_says_which_job_it_is(kit: Kit) -> None:
    assert repr(kit.observe("job-5")) == "<ProgressObserver job-5>"
    assert isinstance(kit.observe("job"), ProgressObserver)


@pytest.mark.parametrize("error", [Cancelled("job"), SystemExit(1), KeyboardInterrupt()])
def test_not_even_an_observer_that_wants_out_ends_the_publisher(
    make_kit: Callable[..., Kit], error: BaseException
) -> None:
    def leave(progress: Progress) -> None:
        raise error

    kit = make_kit(url="memory://")
    with kit.observe("first") as job:
        job.attach(leave)
        kit.subject("first").attach(leave)
        job.advance()
        kit.flush()
        with kit.observe("second"):
            pass
        assert [progress.state for progress in kit.watch("second")] == [State.SUCCEEDED]


def test_those_attached_to_a_job_that_is_dropped_are_notified_of_its_end(kit: Kit, step: Step) -> None:
    job, observer = kit.observe("job"), RecordingObserver()
    job.attach(observer)
    step()
    del job
    step()
    assert observer.states == [State.RUNNING, State.CANCELLED]


@pytest.mark.parametrize("amount", [1, 0.5])
def test_threads_that_share_an_observer_lose_no_count(kit: Kit, amount: float) -> None:
    job, each, before = kit.observe("job"), 20_000, sys.getswitchinterval()

    def work() -> None:
        for _ in range(each):
            job.advance(amount)

    workers = [threading.Thread(target=work) for _ in range(4)]
    sys.setswitchinterval(1e-5)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    assert job.progress.current == 4 * each * amount
