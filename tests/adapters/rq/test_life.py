"""What RQ does to a job beside executing it: stops, killed work-horses, callbacks, dependencies, its own classes."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.command import send_stop_job_command
from rq.job import Dependency, JobStatus

import progresskit
import progresskit_rq
from progresskit import Kit, State
from progresskit.progress import Progress
from progresskit.testing.queue_tasks import calls
from tests.contract.queues import RQ, Worker
from tests.services import server
from tests.services.waiting import wait_until

TASKS = RQ.TASKS
HERE = f"{__name__}."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], None]) -> Iterator[RQ]:
    needs("redis")
    site = RQ(tmp_path_factory.mktemp("rq"))
    yield site
    site.close()


@pytest.fixture(scope="module")
def worker(site: RQ) -> Iterator[Worker]:
    with site.worker("process") as worker:
        yield worker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def until(site: RQ, id: str, seen: Callable[[Progress], object]) -> Progress:
    def found() -> Progress | None:
        progress = site.kit.get(id)
        return progress if progress is not None and seen(progress) else None

    try:
        progress = wait_until(found, "the job comes so far", 60)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {site.kit.get(id)}") from None
    assert progress is not None
    return progress


def end(site: RQ, id: str) -> Progress:
    return until(site, id, lambda progress: progress.done)


def horse(worker: Worker) -> int:
    """Return the process that executes the job; the scheduler of the worker is older."""
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
    return int(wait_until(lambda: children.read_text().split()[1:], "there is a work-horse")[-1])


def test_the_job_of_a_killed_work_horse_is_failed(site: RQ, worker: Worker, folder: Path) -> None:
    job = site.queue.enqueue(f"{TASKS}.wait", str(folder))
    until(site, job.id, lambda progress: progress.current)
    os.kill(horse(worker), signal.SIGKILL)
    done = end(site, job.id)
    assert (done.state, done.version.run) == (State.FAILED, 1)
    assert done.error is not None
    assert "work-horse was killed" in (done.error.message or "")
    assert wait_until(lambda: job.get_status() is JobStatus.FAILED, "RQ has stored it")


def test_the_job_of_a_killed_work_horse_with_retries_goes_on_with_the_next_attempt(
    site: RQ, worker: Worker, folder: Path
) -> None:
    job = site.queue.enqueue(f"{TASKS}.wait", str(folder), retry=Retry(max=1))
    until(site, job.id, lambda progress: progress.current)
    os.kill(horse(worker), signal.SIGKILL)
    until(site, job.id, lambda progress: progress.attempt == 2 and progress.current)
    (folder / "go").touch()
    done = end(site, job.id)
    assert (done.state, done.attempt, done.version.run) == (State.SUCCEEDED, 2, 1)


def test_a_job_that_is_stopped_by_the_command_of_rq_is_cancelled(site: RQ, worker: Worker, folder: Path) -> None:
    job = site.queue.enqueue(f"{TASKS}.wait", str(folder), retry=Retry(max=1))
    until(site, job.id, lambda progress: progress.current)
    send_stop_job_command(site.queue.connection, job.id)
    assert end(site, job.id).state is State.CANCELLED
    assert wait_until(lambda: job.get_status() is JobStatus.STOPPED, "RQ has stopped it")
    assert calls(folder) == 1


def never_reports() -> None:
    time.sleep(600)


def test_a_site_that_terminates_stops_a_job_that_reports_nothing(site: RQ, worker: Worker) -> None:
    with closing(Kit(site.url, terminate=True)) as kit:
        queue = Queue(connection=site.queue.connection)
        progresskit_rq.install(queue, kit=kit)
        job = queue.enqueue(f"{HERE}never_reports")
        until(site, job.id, lambda progress: progress.state is State.RUNNING)
        assert kit.cancel(job.id)
        assert end(site, job.id).state is State.CANCELLED
    assert wait_until(lambda: job.get_status() is JobStatus.STOPPED, "RQ has stopped it")


def note_frozen(folder: str) -> None:
    (Path(folder) / "frozen").write_text(str(gc.get_freeze_count()))


def test_a_garbage_collection_in_a_work_horse_copies_no_memory_of_the_worker(
    site: RQ, worker: Worker, folder: Path
) -> None:
    end(site, site.queue.enqueue(f"{HERE}note_frozen", str(folder)).id)
    assert int((folder / "frozen").read_text()) > 10_000


@pytest.mark.timing
def test_a_running_job_stops_within_a_second_and_a_half(site: RQ, worker: Worker, folder: Path) -> None:
    job = site.queue.enqueue(f"{TASKS}.wait", str(folder))
    until(site, job.id, lambda progress: progress.current)
    asked = time.monotonic()
    assert site.kit.cancel(job.id)
    assert end(site, job.id).state is State.CANCELLED
    assert time.monotonic() - asked < 1.5


def note_failure(job: Any, *_: Any) -> None:
    (Path(job.args[0]) / "failed").touch()


def note_stop(job: Any, *_: Any) -> None:
    (Path(job.args[0]) / "stopped").touch()


def test_a_job_that_was_cancelled_is_stopped_to_rq_and_not_failed(site: RQ, worker: Worker, folder: Path) -> None:
    from rq import Callback

    job = site.queue.enqueue(
        f"{TASKS}.wait",
        str(folder),
        retry=Retry(max=1),
        on_failure=Callback(f"{HERE}note_failure"),
        on_stopped=Callback(f"{HERE}note_stop"),
    )
    follower = site.queue.enqueue(f"{TASKS}.nothing", depends_on=job)
    assert until(site, follower.id, lambda progress: True).state is State.PENDING
    until(site, job.id, lambda progress: progress.current)
    assert site.kit.cancel(job.id)
    assert end(site, job.id).state is State.CANCELLED
    assert job.get_status() is JobStatus.STOPPED
    assert (folder / "stopped").exists()
    assert not (folder / "failed").exists()
    assert follower.get_status() is JobStatus.DEFERRED


def test_a_waiting_job_that_rq_cancels_is_cancelled(site: RQ) -> None:
    first = site.queue.enqueue_in(_in_an_hour(), f"{TASKS}.nothing")
    second = site.queue.enqueue_in(_in_an_hour(), f"{TASKS}.nothing")
    fetched = site.queue.fetch_job(second.id)
    assert fetched is not None
    for job in (first, fetched):
        assert until(site, job.id, lambda progress: True).state is State.PENDING
        job.cancel()
        assert end(site, job.id).state is State.CANCELLED


def test_a_scheduled_job_that_is_cancelled_leaves_the_schedule(site: RQ) -> None:
    job = site.queue.enqueue_in(_in_an_hour(), f"{TASKS}.nothing")
    site.kit.flush(60)
    assert site.kit.cancel(job.id)
    assert end(site, job.id).state is State.CANCELLED
    assert job.get_status() is JobStatus.CANCELED
    assert job.id not in site.queue.scheduled_job_registry


def _in_an_hour() -> Any:
    from datetime import timedelta

    return timedelta(hours=1)


def ask_to_retry(folder: str) -> Any:
    called = len(list(Path(folder).iterdir()))
    (Path(folder) / str(called)).touch()
    return Retry(max=1) if called < int(os.environ.get("TRIES", "1")) else called


def test_a_job_that_returns_a_retry_is_tried_again(site: RQ, worker: Worker, folder: Path) -> None:
    done = end(site, site.queue.enqueue(f"{HERE}ask_to_retry", str(folder)).id)
    assert (done.state, done.attempt, done.version.run) == (State.SUCCEEDED, 2, 1)


def always_retry() -> Any:
    return Retry(max=1)


def test_a_job_that_returns_a_retry_too_often_is_failed(site: RQ, worker: Worker) -> None:
    done = end(site, site.queue.enqueue(f"{HERE}always_retry").id)
    assert (done.state, done.attempt) == (State.FAILED, 2)


def test_jobs_that_are_enqueued_together_or_depend_on_others_wait_from_the_beginning(
    site: RQ, worker: Worker, folder: Path
) -> None:
    first = site.queue.enqueue(f"{TASKS}.wait", str(folder))
    data = [
        Queue.prepare_data(f"{TASKS}.count", (n,), depends_on=Dependency([first]) if n == 2 else None) for n in (1, 2)
    ]
    # RQ returns a job twice if the one that it depends on begins meanwhile.
    ids = [*dict.fromkeys(job.id for job in site.queue.enqueue_many(data))]
    for id in ids:
        assert until(site, id, lambda progress: True).state is State.PENDING
    (folder / "go").touch()
    assert [end(site, id).current for id in ids] == [1, 2]


def enqueue_inside(url: str) -> str:
    queue = Queue(connection=Redis.from_url(url))
    progresskit_rq.install(queue)
    return str(queue.enqueue(f"{TASKS}.nothing").id)


def test_a_job_that_is_enqueued_inside_another_one_has_its_owner(site: RQ, worker: Worker) -> None:
    outer = site.queue.enqueue(f"{HERE}enqueue_inside", site.address, meta=progresskit_rq.owned_by("ada"))
    end(site, outer.id)
    assert end(site, str(outer.return_value(refresh=True))).owner == "ada"


def test_a_requeued_job_is_a_new_run(site: RQ, worker: Worker, folder: Path) -> None:
    job = site.queue.enqueue(f"{TASKS}.flaky", 1, str(folder))
    assert end(site, job.id).state is State.FAILED
    wait_until(lambda: job.id in site.queue.failed_job_registry, "RQ has it")
    job.requeue()
    done = until(site, job.id, lambda progress: progress.done and progress.version.run == 2)
    assert done.state is State.SUCCEEDED


# In the process that enqueues.


def fails() -> None:
    progresskit.current().set_progress(1, 2)
    raise ValueError("no such row")


def child_of() -> None:
    progresskit.current().set_progress(2, 2)


def test_a_job_that_is_executed_at_once_is_a_child_of_the_surrounding_one(site: RQ) -> None:
    queue = Queue("at-once", connection=site.queue.connection, is_async=False)
    progresskit_rq.install(queue, kit=site.kit)
    with site.kit.observe("surrounding") as surrounding:
        job = queue.enqueue(child_of)
        failed = queue.enqueue(fails)
    assert surrounding.id == end(site, job.id).parent == end(site, failed.id).parent
    assert (end(site, job.id).state, end(site, job.id).current) == (State.SUCCEEDED, 2)
    assert (end(site, failed.id).state, end(site, failed.id).current) == (State.FAILED, 1)
    assert failed.get_status() is JobStatus.FAILED


class SiteQueue(Queue):
    """A queue of a site's own."""


def test_installing_keeps_what_the_site_has_made_of_its_queue_and_may_be_repeated(site: RQ) -> None:
    queue = SiteQueue("own", connection=site.queue.connection)
    for _ in range(2):
        progresskit_rq.install(queue, kit=site.kit)
        assert isinstance(queue, SiteQueue | progresskit_rq.Queue)
        assert queue == SiteQueue("own", connection=site.queue.connection)
    job = queue.enqueue(f"{TASKS}.nothing")
    assert until(site, job.id, lambda progress: True).kind == f"{TASKS}.nothing"
    assert type(queue).__mro__.count(progresskit_rq.Queue) == 1
    job.cancel()


@pytest.mark.usefixtures("site")
def test_a_worker_with_a_configuration_that_cannot_work_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from progresskit.errors import ConfigurationError

    class Wrong(progresskit_rq.SimpleWorker):
        kit = progresskit.Kit()

    connection = Redis.from_url(server("redis").fresh())
    monkeypatch.setenv("PROGRESSKIT_URL", "nosuch://host")
    with pytest.raises(ConfigurationError, match="nosuch"):
        Wrong([Queue(connection=connection)], connection=connection).work(burst=True)
    connection.close()
