"""
While a task runs its own state is PROGRESS, and however it ends, its result is unharmed: in a real worker.

The progress is kept in the result backend, and watched from another process than the worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError

from progresskit.progress import State
from tests.services.waiting import PATIENCE, wait_until

from .stores import GENERIC, STORES, StateSite, lacks


@pytest.fixture(scope="module", params=STORES)
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    missing_service: Callable[[str], NoReturn],
) -> Iterator[StateSite]:
    if lacks(request.param):
        missing_service(request.param)
    site = StateSite(request.param, tmp_path_factory.mktemp(request.param))
    yield site
    site.close()


def shown(site: StateSite, id: str, state: str) -> Any:
    """Return the result once Celery says that it is in that state."""
    result = site.result(id)
    try:
        wait_until(lambda: result.state == state, f"{id} is {state}")
    except TimeoutError as error:
        raise AssertionError(f"{error}: {result.state} {result.info}\n{site.worker.logged()[-3000:]}") from None
    return result


def running(site: StateSite, id: str) -> None:
    """Wait until both records, the kit's and the task's own, say that it runs."""
    site.until_seen(id, lambda progress: progress.state is State.RUNNING and progress.current)
    shown(site, id, "PROGRESS")


def ended(site: StateSite, id: str, error: type[Exception]) -> None:
    """Wait until the only run of the job has failed with the error, where it was."""
    done = site.done(id)
    assert (done.state, done.current, done.version.run) == (State.FAILED, 1, 1)
    assert done.error is not None
    assert done.error.type == error.__name__


def test_a_running_task_is_in_progress_with_current_and_total(site: StateSite) -> None:
    gate = site.gate()
    id = site.send("steps", 100, str(gate)).id
    site.until_seen(id, lambda progress: progress.current == 50)
    result = shown(site, id, "PROGRESS")
    wait_until(lambda: result.info["current"] == 50, "the count is told")
    assert result.info == {"current": 50, "total": 100, "percent": 50, "description": "Half"}
    gate.touch()
    assert result.get(timeout=PATIENCE) == 100
    assert result.state == "SUCCESS"
    done = site.done(id)
    assert (done.state, done.current, done.total) == (State.SUCCEEDED, 100, 100)


@pytest.mark.parametrize("site", GENERIC, indirect=True, scope="module")
def test_the_record_outlives_the_task_and_is_none_of_its_result(site: StateSite) -> None:
    id = site.send("plain", 20).id
    assert site.done(id).current == 20
    kept = site.result(f"progresskit-{id}")
    assert kept.state == "PROGRESS"
    assert isinstance(kept.info, str)
    assert site.result(id).result == 20


def test_a_failure_stays_a_failure(site: StateSite) -> None:
    id = site.send("fails").id
    done = site.done(id)
    assert (done.state, done.current) == (State.FAILED, 29)
    result = site.result(id)
    assert result.state == "FAILURE"
    assert isinstance(result.result, ValueError)


def test_a_retried_task_is_in_progress_again_and_then_succeeds(site: StateSite) -> None:
    gate = site.gate()
    id = site.send("retries_inside", 0.5, None, str(gate)).id
    site.until_seen(id, lambda progress: progress.attempt == 2 and progress.current == 4)
    result = shown(site, id, "PROGRESS")
    wait_until(lambda: result.info["current"] == 4, "the count of the second attempt is told")
    gate.touch()
    assert result.get(timeout=PATIENCE) is None
    assert site.done(id).state is State.SUCCEEDED
    assert site.result(id).state == "SUCCESS"


def test_a_cancelled_task_is_revoked(site: StateSite) -> None:
    id = site.send("advances").id
    running(site, id)
    assert site.kit.cancel(id)
    assert site.done(id).state is State.CANCELLED
    result = site.result(id)
    assert result.state == "REVOKED"
    assert isinstance(result.result, TaskRevokedError)


def test_a_task_that_was_revoked_before_it_began_stays_so(site: StateSite) -> None:
    id = f"revoked-{site.folder.name}"
    site.app.control.revoke(id)
    wait_until(lambda: f"flagged as revoked: {id}" in site.worker.logged(), "the worker knows")
    site.send("plain", 1, task_id=id)
    assert site.done(id).state is State.CANCELLED
    assert shown(site, id, "REVOKED")


def test_a_terminated_task_is_revoked_for_good(site: StateSite) -> None:
    id = site.send("tracks").id
    running(site, id)
    site.app.control.revoke(id, terminate=True)
    assert site.done(id).state is State.CANCELLED
    shown(site, id, "REVOKED")
    # Its process is replaced: whatever it still had to say has been said.
    assert site.done(site.send("plain", 3).id).current == 3
    assert site.result(id).state == "REVOKED"


@pytest.mark.parametrize(
    ("limit", "error"), [("soft_time_limit", SoftTimeLimitExceeded), ("time_limit", TimeLimitExceeded)]
)
def test_a_task_over_its_time_limit_fails_for_good(site: StateSite, limit: str, error: type[Exception]) -> None:
    id = site.send("overruns", **{limit: 1}).id
    try:
        running(site, id)
    finally:
        site.worker.go_on()
    ended(site, id, error)
    assert isinstance(shown(site, id, "FAILURE").result, error)
    assert site.done(site.send("plain", 3).id).current == 3
    assert site.result(id).state == "FAILURE"


def test_a_task_whose_process_dies_fails_for_good(site: StateSite) -> None:
    gate = site.gate()
    id = site.send("dies", str(gate)).id
    running(site, id)
    gate.touch()
    ended(site, id, WorkerLostError)
    assert isinstance(shown(site, id, "FAILURE").result, WorkerLostError)


def test_two_hundred_quick_tasks_have_their_results(site: StateSite) -> None:
    results = {n: site.send("plain", n) for n in range(1, 201)}
    for n, result in results.items():
        assert result.get(timeout=PATIENCE, interval=0.02) == n
    assert {site.done(result.id).current for result in results.values()} == set(results)
    assert {site.result(result.id).state for result in results.values()} == {"SUCCESS"}
