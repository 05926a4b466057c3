"""Reports over HTTP, without a server: many at once, and what a report may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progresskit import Kit, Progress, State
from progresskit.decoding import decode
from progresskit.errors import BackendUnavailable
from progresskit.memory import MemoryBackend
from progresskit.progress import Stored, Version, Write, fold
from progresskit.testing import FakeClock
from progresskit.web import Request, Response, Server, Surface

SECRET = "a secret key that is long enough"
REPORTS = 1_000


class Recording(MemoryBackend):
    """Keeps all writes, in the order in which they were folded."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Write] = []

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        self.writes += batch
        return super().write(batch)


class Away(MemoryBackend):
    """Can be read, and written once it is `back`."""

    back = False

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        if not self.back:
            raise BackendUnavailable("no route to host")
        return super().write(batch)


def kit_on(backend: MemoryBackend, **settings: Any) -> Kit:
    return Kit(backend=backend, secret_key=SECRET, **{"flush_seconds": 60} | settings)


def put(kit: Kit, content: bytes, key: str, run: str | None = None, seq: int | None = None) -> Response:
    headers = {"x-progresskit": "1", "progresskit-run": run, "progresskit-seq": None if seq is None else str(seq)}
    given = {name: value for name, value in headers.items() if value is not None}
    return Surface(kit).answer(Request("PUT", f"{key}/", "", given, Server.THREADS, read=BytesIO(content).read))


def test_a_thousand_reports_of_two_reporters_through_two_sites_leave_what_the_fold_says() -> None:
    backend = Recording()
    with closing(kit_on(backend)) as one, closing(kit_on(backend)) as other:
        key = Surface(one).sign("job", "report")
        run = put(one, b"{}", key).headers["Progresskit-Run"]
        seqs = [*range(2, REPORTS + 2)]
        # Neighbours change places, so that some reports come late; and each reporter goes through both sites.
        for at in range(0, REPORTS - 1, 3):
            seqs[at], seqs[at + 1] = seqs[at + 1], seqs[at]

        def report(reporter: int) -> dict[int, int]:
            statuses = {}
            for seq in seqs[reporter::2]:
                content = json.dumps({"current": seq, "total": 2 * REPORTS, "description": f"{reporter} at {seq}"})
                statuses[seq] = put((one, other)[seq % 2], content.encode(), key, run, seq).status
            return statuses

        with ThreadPoolExecutor() as pool:
            first, second = pool.map(report, (0, 1))
        statuses = first | second
        record = one.get("job")
    assert record is not None
    assert record == folded(backend.writes)
    assert (record.version, record.current) == (Version(1, 1, REPORTS + 1), REPORTS + 1)
    assert statuses[REPORTS + 1] == 200
    assert {*statuses.values()} == {200, 409}
    assert record.description in (f"0 at {record.current}", f"1 at {record.current}")


def folded(writes: Sequence[Write]) -> Progress:
    stored: Stored | None = None
    for write in writes:
        stored, _ = fold(stored, write, 0)
    assert stored is not None
    return decode(stored, False, "job")


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    with closing(kit_on(MemoryBackend())) as kit:
        yield kit


def test_a_part_that_nobody_declared_leaves_the_count_of_a_reported_job_alone(kit: Kit) -> None:
    key = Surface(kit).sign("counted", "report")
    run = put(kit, b'{"current": 2, "total": 4}', key).headers["Progresskit-Run"]
    with kit.part("counted", "a"):
        pass
    put(kit, b'{"description": "Reading"}', key, run, 2)
    record = kit.get("counted")
    assert record is not None
    assert (record.current, record.total, record.percent, record.description) == (2, 4, 50, "Reading")


numbers = st.none() | st.booleans() | st.integers() | st.floats()
anything = st.recursive(numbers | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
names = st.sampled_from(
    ["current", "total", "unit", "description", "meta", "state", "result", "error", "next_retry_at", "kind", "x"]
)
likely = st.sampled_from([*State, "2099-01-31T12:00:00+05:30", "0001-01-01T00:00:00+23:59", {"message": "\ud800\0"}])
objects = st.dictionaries(names, anything | likely, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary() | st.dictionaries(names, anything | likely, max_size=4).map(lambda o: json.dumps(o).encode())
)
def test_no_report_breaks_the_surface_and_what_is_stored_is_a_record(kit: Kit, content: bytes) -> None:
    response = put(kit, content, Surface(kit).sign("any", "report"))
    assert response.status in {201, 400}, response
    assert isinstance(response.body, bytes)
    if response.status == 201:
        record = kit.get("any")
        assert record is not None
        assert json.loads(response.body) == json.loads(record.to_json())


def test_a_report_that_cannot_be_stored_may_be_sent_again() -> None:
    backend = Away()
    with closing(kit_on(backend, flush_seconds=1)) as kit:
        key = Surface(kit).sign("job", "report")
        response = put(kit, b"{}", key)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        backend.back = True
        run = put(kit, b'{"current": 1}', key).headers["Progresskit-Run"]
        backend.back = False
        assert put(kit, b'{"current": 2}', key, run, 2).status == 503
        backend.back = True
        assert put(kit, b'{"current": 2}', key, run, 2).status == 200
        record = kit.get("job")
    assert record is not None
    assert record.current == 2


def test_a_run_that_the_store_has_lost_is_restored_unless_another_one_owns_the_job() -> None:
    with closing(kit_on(MemoryBackend())) as before, closing(kit_on(MemoryBackend())) as after:
        key = Surface(before).sign("job", "report")
        older, newer = (put(before, b'{"current": 1}', key).headers["Progresskit-Run"] for _ in range(2))
        assert put(after, b'{"current": 5}', key, older, 8).status == 200
        assert put(after, b'{"current": 6}', key, newer, 2).status == 200, "it has begun later"
        assert put(after, b'{"current": 7}', key, older, 9).status == 409
        record = after.get("job")
        assert record is not None
        assert (str(record.version), record.current) == ("2.1.2", 6)
        before._update_externally("waiting", State.PENDING, owner="ada")
        before.flush()
        older = put(before, b"{}", Surface(before).sign("waiting", "report")).headers["Progresskit-Run"]
        after._update_externally("waiting", State.PENDING, owner="bob")
        after.flush()
        assert put(after, b"{}", Surface(after).sign("waiting", "report"), older, 2).status == 409
        waiting = after.get("waiting")
        assert waiting is not None
        assert (waiting.state, waiting.owner) == (State.PENDING, "bob")


def test_rate_and_time_left_follow_the_reports() -> None:
    clock = FakeClock()
    backend, random = MemoryBackend(clock=clock), Random(1)
    with closing(kit_on(backend, clock=clock)) as kit:
        key, count, record = Surface(kit).sign("job", "report"), 100.0, dict[str, Any]()
        run = put(kit, b'{"current": 100, "total": 1000}', key).headers["Progresskit-Run"]
        for seq in range(2, 22):
            seconds = random.uniform(0.05, 4)
            clock.advance(seconds)
            count += 10 * seconds
            response = put(kit, json.dumps({"current": count}).encode(), key, run, seq)
            assert isinstance(response.body, bytes)
            record = json.loads(response.body)
        assert record["rate"] == pytest.approx(10, rel=0.01)
        assert record["eta"] == pytest.approx((1000 - count) / 10, rel=0.01)
        clock.advance(60)
        put(kit, b"{}", key, run, 22)
        slower = kit.get("job")
        assert slower is not None
        assert slower.rate is not None
        assert slower.rate < 8, "a pause lowers it"
        put(kit, b'{"current": 5}', key, run, 23)
        restarted = kit.get("job")
        assert restarted is not None
        assert (restarted.rate, restarted.eta) == (None, None)


def test_the_time_left_of_a_job_with_steps_is_that_of_all_its_steps() -> None:
    clock = FakeClock()
    with closing(kit_on(MemoryBackend(clock=clock), clock=clock)) as kit:
        key, record = Surface(kit).sign("job", "report"), dict[str, Any]()
        run = put(kit, b'{"steps": {"Download": 1, "Parse": 3}}', key).headers["Progresskit-Run"]
        counts = [("Download", count, 10) for count in range(1, 11)] + [("Parse", count, 40) for count in range(21)]
        for seq, (name, count, total) in enumerate(counts, 2):
            clock.advance(1)
            content = {"step": {"name": name, "current": count, "total": total}}
            response = put(kit, json.dumps(content).encode(), key, run, seq)
            assert isinstance(response.body, bytes)
            record = json.loads(response.body)
            if (name, count) == ("Parse", 0):
                assert (record["percent"], record["rate"]) == (25, None)
        assert record["percent"] == 62.5
        assert record["rate"] == pytest.approx(1, rel=0.01)
        assert record["eta"] == pytest.approx(20, rel=0.3)


def test_a_step_of_a_run_that_the_store_has_lost_goes_on_without_the_others() -> None:
    with closing(kit_on(MemoryBackend())) as before, closing(kit_on(MemoryBackend())) as after:
        key = Surface(before).sign("job", "report")
        run = put(before, b'{"steps": ["Download", "Parse"]}', key).headers["Progresskit-Run"]
        for seq, name in enumerate(("Download", "Parse"), 2):
            content = {"step": {"name": name, "current": 1, "total": 4}}
            assert put(after, json.dumps(content).encode(), key, run, seq).status == 200
        lost = after.get("job")
        assert lost is not None
        assert lost.steps is not None
        assert [(step.name, step.weight, step.state, step.percent) for step in lost.steps] == [
            ("Download", None, "succeeded", 100),
            ("Parse", None, "running", 25),
        ]
        assert (lost.step, lost.percent) == (2, 25)
        put(after, b'{"step": null, "steps": null, "state": "failed"}', key, run, 4)
        assert after.get("job").steps[1].state == "failed"  # type: ignore[union-attr, index]
