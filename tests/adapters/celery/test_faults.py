"""What the process that executes a task cannot tell any more, another one tells; and if none can, the lease does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from progresskit.progress import State
from tests.services.waiting import PATIENCE, wait_until

from .site import Site
from .worker import Stalls, start_worker

LEASE = 2.0


def test_cancelling_kills_where_the_site_wants_that(prefork: Site) -> None:
    result = prefork.send("steps", 2, str(prefork.gate()))
    prefork.until(result.id, State.RUNNING)
    prefork.kit.configure(prefork.worker.url, terminate=True)
    try:
        prefork.kit.cancel(result.id)
        done = prefork.done(result.id)
    finally:
        prefork.kit.configure(prefork.worker.url)

    assert (done.state, done.version.run) == (State.CANCELLED, 1)


def test_a_task_whose_process_is_killed_is_run_again_where_celery_does_so(prefork: Site) -> None:
    result = prefork.send("dies_once", str(prefork.gate()))
    done = prefork.done(result.id)

    assert (done.state, done.version.run) == (State.SUCCEEDED, 2)


@pytest.mark.parametrize(("pool", "error"), [("prefork", "WorkerLostError"), ("threads", "SystemExit")])
def test_a_task_that_exits_is_failed(sites: Callable[..., Site], pool: str, error: str) -> None:
    site = sites(pool)
    done = site.done(site.send("exits").id)

    assert done.state is State.FAILED
    assert done.error is not None
    assert done.error.type == error


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.timing
def test_a_job_is_stalled_when_its_whole_worker_is_killed(sites: Callable[..., Site], pool: str) -> None:
    site = sites(pool, name=f"killed-{pool}", env={"PROGRESSKIT_LEASE": str(LEASE)})
    result = site.send("tracks")
    site.until_seen(result.id, lambda progress: progress.current > 0)
    site.worker.kill()
    with Stalls() as stalls:
        killed = datetime.now(UTC)
        last = site.kit.get(result.id)
        stalled = next(progress for progress in site.kit.watch(result.id) if progress.stalled)
        seen = datetime.now(UTC)
    assert last is not None
    assert last.updated_at is not None

    assert stalled.state is State.RUNNING
    assert (seen - last.updated_at).total_seconds() >= LEASE
    assert (seen - killed).total_seconds() - stalls.seconds <= LEASE + 1


def test_a_warm_shutdown_stores_what_its_last_task_reported(sites: Callable[..., Site]) -> None:
    site = sites("prefork", name="warm")
    gate = site.gate()
    result = site.send("steps", 10, str(gate))
    site.until(result.id, State.RUNNING)
    os.kill(site.worker.pid, signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in site.worker.logged(), "the worker is going down")
    gate.touch()
    site.worker.process.wait(PATIENCE)

    progress = site.kit.get(result.id)
    assert progress is not None
    assert progress.state is State.SUCCEEDED


def test_a_worker_warns_of_progress_that_nobody_else_can_see(tmp_path: Path) -> None:
    worker = start_worker(tmp_path, pool="solo", env={"PROGRESSKIT_URL": "memory://"})
    worker.kill()

    assert "a Celery worker uses memory://, which is seen by this process only: set PROGRESSKIT_URL" in worker.logged()
