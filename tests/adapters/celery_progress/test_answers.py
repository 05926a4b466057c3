"""progresskit in the place of celery-progress, beside celery-progress itself: the same tasks, requests and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from celery import Celery, current_app
from celery.result import AsyncResult

from progresskit.decoding import decode
from progresskit.default_kit import default
from progresskit.errors import BackendUnavailable
from progresskit.memory import MemoryBackend
from progresskit.progress import Failure, State, Stored, encode
from progresskit.progress import Progress as Record
from progresskit.steps import Step, StepState
from progresskit.testing import record
from progresskit_celery_progress.reading import records_of
from progresskit_celery_progress.status import status
from tests.services import server
from tests.services.redis import Redis
from tests.services.waiting import PATIENCE, wait_until

from .sites import OURS, THEIRS, Pair, Site, running

pytestmark = pytest.mark.xdist_group("celery-progress")

UNKNOWN = (
    b'{"state": "PENDING", "complete": false, "success": null, '
    b'"progress": {"pending": true, "current": 0, "total": 100, "percent": 0}}'
)


@pytest.fixture(scope="module")
def theirs(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs("redis")
    with running(tmp_path_factory.mktemp("theirs"), THEIRS) as site:
        yield site


@pytest.fixture(scope="module", params=["one name changed", "with progresskit_celery"])
def pair(request: pytest.FixtureRequest, theirs: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Give both sites; ours with nothing but the name changed, and as one that has gone all the way."""
    all_the_way = request.param != "one name changed"
    url = server("redis").fresh() if all_the_way else ""
    with running(tmp_path_factory.mktemp("ours"), OURS, installs=all_the_way, url=url) as ours:
        yield Pair(theirs, ours)


@contextmanager
def open_gate(gate: Path) -> Iterator[str]:
    """Give the gate's name, and open it at the end whatever happens: a task behind it occupies a worker."""
    try:
        yield str(gate)
    finally:
        gate.touch()


def state(wanted: str) -> Callable[[dict[str, Any]], bool]:
    return lambda info: info["state"] == wanted


def at(current: float) -> Callable[[dict[str, Any]], bool]:
    return lambda info: info["state"] == "PROGRESS" and info["progress"]["current"] == current


# The states.


def test_an_id_that_nobody_knows_is_pending(pair: Pair) -> None:
    assert [site.get("nobody-knows").body for site in pair.both] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    "steps",
    [
        [(1, 3)],
        [(2, 3, "Reading")],
        [(1, 3, "Reading"), (2, 3)],
        [(29, 100, "<b>")],
        [(0, 7)],
        [(0, 0)],
        [(5, 0)],
        [(7, 5, "over")],
        [(5, 5, "all")],
        [(0.5, 2.5, "Zoë")],
        [(1, 3_000_000)],
    ],
    ids=str,
)
def test_a_task_that_reports_is_reported_alike_while_it_runs_and_when_it_is_done(
    pair: Pair, steps: list[tuple[Any, ...]]
) -> None:
    with open_gate(pair.gate()) as gate:
        id = pair.send("reports", gate, *steps)
        info = pair.same(id, at(steps[-1][0]))
        assert [*info] == ["state", "complete", "success", "progress"]
        assert [*info["progress"]] == ["pending", "current", "total", "percent", "description"]
    info = pair.same(id, state("SUCCESS"))
    assert [*info] == ["state", "complete", "success", "progress", "result"]
    assert info["result"] == {"rows": len(steps), "name": "Zoë"}


def test_a_count_without_a_total_is_reported_alike(pair: Pair) -> None:
    with open_gate(pair.gate()) as gate:
        pair.same(pair.send("counts", gate, 4), at(4))


def test_two_recorders_of_one_task_report_to_the_same_job(pair: Pair) -> None:
    with open_gate(pair.gate()) as gate:
        id = pair.send("two_recorders", gate)
        assert pair.same(id, at(2))["progress"]["description"] == "second"
    pair.same(id, state("SUCCESS"))


def test_a_failure_is_reported_with_its_message(pair: Pair) -> None:
    info = pair.same(pair.send("fails"), state("FAILURE"))
    assert (info["success"], info["result"]) == (False, "no such row: <b>7</b>")


def test_a_retry_is_reported_with_its_seconds_and_the_next_attempt_goes_on(pair: Pair) -> None:
    with open_gate(pair.gate()) as before, open_gate(pair.gate()) as after:
        waiting = pair.send("retries", 3600, before, after)
        info = pair.same(waiting, state("RETRY"))
        assert info["result"]["next_retry_seconds"] == 3600
        assert len(info["result"]["message"]) == 53
        again = pair.send("retries", 0, before, after)
        # Celery sends the next attempt first and stores RETRY then: over what a quick attempt has reported by then.
        pair.theirs.until(again, state("RETRY"))
        Path(before).touch()
        assert pair.same(again, at(2))["progress"]["description"] == "again"
    assert pair.same(again, state("SUCCESS"))["result"] == "at last"
    for site in pair.both:
        site.client.control.revoke(waiting)


def test_an_attempt_is_stored_before_the_next_one_is_sent(pair: Pair) -> None:
    # Stored after the start of the next attempt, it would be a new run, and the reports of the next one be ignored.
    id, path = f"retries-{uuid4()}", pair.gate()
    pair.ours.send("stored_before_retry", str(path), id=id)
    pair.ours.until(id, state("SUCCESS"))
    assert path.read_text() == "attempt 1"


def test_an_ignored_task_is_reported_as_such(pair: Pair) -> None:
    assert pair.same(pair.send("ignores"), state("IGNORED"))["result"] == "nothing to do"


def test_a_task_that_was_revoked_before_it_began_is_reported_as_such(pair: Pair) -> None:
    id = f"revoked-{uuid4()}"
    for site in pair.both:
        assert site.client.control.revoke(id, reply=True, limit=1, timeout=PATIENCE)
        site.send("fails", id=id)
    assert pair.same(id, state("REVOKED"))["result"] == "Task revoked"


def test_a_task_that_was_terminated_is_reported_as_such(pair: Pair) -> None:
    with open_gate(pair.gate()) as gate:
        id = pair.send("reports", gate, (1, 3))
        pair.same(id, at(1))
        for site in pair.both:
            site.client.control.terminate(id, reply=True, limit=1, timeout=PATIENCE)
        assert pair.same(id, state("REVOKED"))["result"] == "Task terminated"


@pytest.mark.parametrize(
    ("word", "meta"),
    [
        ("PROGRESS", {"pending": False, "current": 3, "total": 9, "percent": 1.5, "description": "own", "more": [1]}),
        ("STARTED", {"pid": 1}),
        ("RECEIVED", None),
        ("BAKING", {"crust": "brown"}),
    ],
)
def test_a_state_that_the_task_sets_itself_is_reported_alike(pair: Pair, word: str, meta: Any) -> None:
    with open_gate(pair.gate()) as gate:
        pair.same(pair.send("own_words", gate, word, meta), state(word))


def test_a_task_that_has_begun_and_not_reported_is_reported_as_the_original_does(
    needs: Callable[[str], None], tmp_path: Path
) -> None:
    needs("redis")
    gates = [tmp_path / f"gate-{number}" for number in (1, 2)]
    with running(tmp_path, installs=True) as site, open_gate(gates[1]), open_gate(gates[0]):
        site.send("reports_late", str(tmp_path / "gate"), id="late")
        wait_until(lambda: site.client.AsyncResult("late").state == "PROGRESS", "Celery knows of it")
        assert site.get("late").body == UNKNOWN
        gates[0].touch()
        wait_until(lambda: site.client.AsyncResult("late").info["current"] == 1, "Celery knows of the report")
        whole = {"pending": False, "current": 1, "total": 3, "percent": 33.33, "description": "one"}
        assert site.get("late").info["progress"] == whole


def mirror(current: int, total: int | None, description: str | None) -> dict[str, Any]:
    about = {"current": current, "total": total, "description": description, "percent": 0}
    return {"status": "PROGRESS", "result": about}


def test_what_celery_knows_of_a_task_is_reported_in_the_words_of_the_original() -> None:
    # Where it was told after the record was read, or where the record cannot be read.
    assert json.dumps(status("id", mirror(0, None, None), None)).encode() == UNKNOWN
    answer = {"pending": False, "current": 0, "total": 3, "percent": 0, "description": ""}
    assert status("id", mirror(0, 3, None), None)["progress"] == answer
    assert status("id", mirror(2, None, "two"), None)["progress"] == answer | {
        "current": 2,
        "total": 0,
        "description": "two",
    }


def test_a_task_with_steps_is_reported_in_percent_of_the_whole() -> None:
    steps = (Step("Download", 1, StepState.SUCCEEDED, 100), Step("Parse", 3, StepState.RUNNING, 50))
    made = record("id", current=5, total=10, description="Parsing", steps=steps, step=2, given_percent=62.5)
    answer = status("id", {"status": "PENDING", "result": None}, made)["progress"]
    assert answer == {"pending": False, "current": 62.5, "total": 100, "percent": 62.5, "description": "Parsing"}


@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED, State.CANCELLED])
def test_no_private_field_of_the_record_is_in_an_answer(state: State) -> None:
    made = record("id", state, current=1, owner="owner-7731", lease=98.765, error=Failure("ValueError", "password=1"))
    kept = Stored(1, 1, 1, None, state, encode(made))
    answer = json.dumps(status("id", {"status": "PENDING", "result": None}, decode(kept, id="id")))
    assert not [private for private in ("owner", "7731", "lease", "98.765", "password", "crc32") if private in answer]


def test_a_task_that_celery_says_has_started_is_reported_as_such() -> None:
    current_app.conf.task_track_started = True
    try:
        answer = status("id", mirror(0, None, None), None)
    finally:
        current_app.conf.task_track_started = False
    assert (answer["state"], answer["progress"]["pending"]) == ("STARTED", False)


def test_a_problem_is_logged_once_though_its_texts_differ(caplog: pytest.LogCaptureFixture) -> None:
    class Away(BackendUnavailable):
        pass

    class Store(MemoryBackend):
        def read(self, ids: Collection[str]) -> dict[str, Record]:
            raise Away(f"nothing is known of {ids}")

    default().configure(backend=Store())
    try:
        for number in range(3):
            assert records_of([AsyncResult(f"task-{number}", app=Celery(set_as_current=False))]) == {}
    finally:
        default().configure()
    assert caplog.text.count("Away: nothing is known of") == 1


# Groups.


def test_a_group_is_reported_alike_from_its_tasks(pair: Pair) -> None:
    with open_gate(pair.gate()) as gate:
        group = f"group-{uuid4()}"
        parts = [("reports", (gate, (1, 3, "one"))), ("reports", (gate, (2, 7))), *[("fails", ())] * 3]
        for site in pair.both:
            site.send_group(group, parts)
        # The two that wait occupy the whole worker, if they are first.
        info = pair.same(f"g/{group}", lambda info: info["progress"]["current"] >= 3)
        assert [*info] == ["complete", "success", "progress"]
        assert [*info["progress"]] == ["total", "current", "percent"]
        assert info["complete"] is False
    info = pair.same(f"g/{group}", lambda info: info["complete"])
    assert info == {"complete": True, "success": False, "progress": {"total": 500, "current": 500, "percent": 100.0}}


def test_a_group_that_was_not_saved_is_not_found_where_the_original_breaks(pair: Pair) -> None:
    assert [site.get("g/nobody-knows").status for site in pair.both] == [500, 404]


def test_a_group_of_a_hundred_tasks_is_read_in_three_round_trips(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    with (
        Redis() as redis,  # of its own: what it is asked is counted, and the workers of other tests ask as well
        running(tmp_path, worker=False, redis=redis.url) as site,
        closing(redis.client()) as client,
    ):
        site.send_group("many", [("fails", ())] * 100)
        site.get("g/many")  # opens what it needs
        before = client.info("commandstats")
        assert site.get("g/many").info["progress"] == {"total": 10_000, "current": 0, "percent": 0.0}
        after = client.info("commandstats")
    read = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    reads = [read.get(f"cmdstat_{name}", 0) for name in ("get", "mget", "evalsha")]
    assert sum(reads) <= 3, read  # the group, Celery's results, the kit's records


# What is better than the original.


def test_reporting_costs_no_round_trip(pair: Pair, tmp_path: Path) -> None:
    def asked(site: Site, reports: int) -> int:
        """Return how often Redis is asked meanwhile, by whomever: what takes long is looked at more often."""
        file = tmp_path / site.package
        site.send("takes", reports, str(file), id=f"task-{uuid4()}")
        wait_until(file.exists, "it is counted")
        return int(file.read_text())

    assert asked(pair.theirs, 1_000) >= 1_000
    assert asked(pair.ours, 20_000) < 2_000


@pytest.mark.parametrize(("fails", "word", "result"), [(False, "SUCCESS", None), (True, "FAILURE", "ValueError")])
def test_a_task_whose_result_is_ignored_comes_to_an_end(pair: Pair, fails: bool, word: str, result: Any) -> None:
    id = pair.send("forgets", fails)
    info = pair.ours.until(id, state(word)).info
    assert (info["complete"], info["success"], info["result"]) == (True, not fails, result)
    wait_until(lambda: pair.theirs.get(id).info["state"] == "PROGRESS", "the original has run the task too")


def test_a_recorder_in_a_childs_block_reports_to_its_task(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    with (
        running(tmp_path, installs=True, url=server("redis").fresh(), pool="threads") as site,
        open_gate(tmp_path / "gate") as gate,
    ):
        site.send("child", gate, id="parent")
        assert site.until("parent", at(1)).info["progress"]["description"] == "outside"
        Path(gate).touch()
        assert site.until("parent", state("SUCCESS"))


# Who may ask.


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_site_with_authorize_serves_nobody_else(needs: Callable[[str], None], tmp_path: Path, kind: str) -> None:
    needs("redis")
    with running(tmp_path, authorize=kind, worker=False) as site:
        assert site.get("guest-1") == (200, UNKNOWN)
        assert site.get("member-1").status == 404
        assert site.get("g/member-1").status == 404


def test_answers_are_not_cached_and_are_json(pair: Pair) -> None:
    names = ("content-type", "cache-control")
    theirs, ours = (
        httpx.get(f"{site.address}/celery-progress/nobody-knows/", trust_env=False, timeout=PATIENCE).headers
        for site in pair.both
    )
    assert [ours[name] for name in names] == [theirs[name] for name in names]
