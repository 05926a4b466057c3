"""Records of other releases, and records that cannot be decoded: their handling, and its effect on other records."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING
from uuid import uuid4

from progresskit.abc import SupportsListing, SupportsPush
from progresskit.progress import State, encode

from .doubles import RecordingObserver
from .helpers import nothing, read, seen, write_and_read
from .watching import INTERVAL, found, gathered, opened, viewing
from .writes import external_update, record, start, update

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from progresskit.abc import Backend

UNDECODABLE = ("", "{", '{"id":"', "null", "[]", '"text"', "7", "no JSON", "[" * 2_000, "\x00\x1e\x1f", "9" * 5_000)
"""Bodies that are no record."""

WRONG = {
    "kind": 7,
    "current": "many",
    "total": -1,
    "unit": ["rows"],
    "description": {"a": 1},
    "meta": [1],
    "rate": "fast",
    "eta": 1e300,
    "error": "it failed",
    "parent": False,
    "created_at": "yesterday",
    "started_at": 5,
    "updated_at": "2026-13-01T00:00:00Z",
    "finished_at": True,
    "next_retry_at": {},
    "lease": "long",
    "owner": 3,
}
"""For each field that has a type or a range, a value that it cannot have."""


class Planting:
    """Stores bodies that this release would not write."""

    def plant(self, backend: Backend, id: str, body: str, *, wait: Callable[[], object] = nothing) -> None:
        """
        Store a raw body as the record of a running job, its second.

        By default another release's worker writes it; override this where the store can be changed directly: `wait` is
        called once the second record is stored and can still be decoded.
        """
        backend.write([start(id)])
        backend.write([update(id, 2)._replace(body=body)])


class DecodingContract(Planting):
    """The promises for records that another release, or another program, has stored."""

    def test_what_cannot_be_decoded_is_absent_and_keeps_nothing_else_from_being_read(self, backend: Backend) -> None:
        bad = [f"bad-{number}" for number in range(len(UNDECODABLE))]
        for id, body in zip(bad, UNDECODABLE, strict=True):
            self.plant(backend, id, body)
        backend.write([start("good", current=1), start("other")])
        assert backend.read(["good", *bad, "other"]).keys() == {"good", "other"}
        assert backend.read(bad) == {}
        with opened(backend) as kit:
            assert kit.get(bad[0]) is None
            assert kit.get_many(["good", bad[0]]).keys() == {"good"}
        if isinstance(backend, SupportsListing):
            listed = [backend.list(kind=None, states=states, limit=50) for states in (None, [State.RUNNING])]
            assert [{progress.id for progress in records} for records in listed] == [{"good", "other"}] * 2
            assert [progress.id for progress in backend.list(kind=None, states=None, limit=1)] in (["good"], ["other"])

    def test_a_list_is_as_long_as_it_can_be_however_many_records_cannot_be_decoded(self, backend: Backend) -> None:
        backend.write([start("first"), start("second")])
        for number in range(5):
            self.plant(backend, f"bad-{number}", "{")
        if isinstance(backend, SupportsListing):
            records = backend.list(kind=None, states=None, limit=2)
            assert {progress.id for progress in records} == {"first", "second"}

    def test_fields_of_a_later_release_are_ignored(self, backend: Backend) -> None:
        job = record("job", current=3, total=9, unit="rows", description="Käse 🧀", meta={"a": [1, None]}, lease=30.0)
        backend.write([start("job", current=3, total=9, unit="rows", description="Käse 🧀", meta={"a": [1, None]})])
        before = read(backend, "job")
        later = {"schema": 9, **json.loads(encode(job)), "tags": ["a"], "step": {"created_at": "x", "percent": 2.5}}
        self.plant(backend, "job", json.dumps(later, ensure_ascii=False))
        after = read(backend, "job")
        assert after._replace(version=before.version).to_json() == before.to_json()

    def test_fields_that_are_missing_have_their_defaults(self, backend: Backend) -> None:
        for number, body in enumerate(({}, {"id": "job-1"}, {"id": "job-2", "created_at": None, "current": 7})):
            self.plant(backend, f"job-{number}", json.dumps(body))
        records = backend.read(["job-0", "job-1", "job-2"])
        assert [records[f"job-{number}"].current for number in range(3)] == [0, 0, 7]
        for id, progress in records.items():
            assert (progress.id, progress.state, progress.total, progress.meta) == (id, State.RUNNING, None, {})
            assert json.loads(progress.to_json())["version"] == str(progress.version)

    def test_values_that_cannot_be_are_as_good_as_missing(self, backend: Backend) -> None:
        for name, value in WRONG.items():
            self.plant(backend, name, json.dumps({**json.loads(encode(record(name, current=4))), name: value}))
        self.plant(backend, "infinite", '{"id":"infinite","current":1e999,"rate":NaN,"meta":{"a":-1e999,"b":Infinity}}')
        self.plant(backend, "surrogate", '{"id":"surrogate","description":"a\\ud800b","meta":{"\\udfff":"\\udc00"}}')
        records = backend.read([*WRONG, "infinite", "surrogate"])
        assert records.keys() == {*WRONG, "infinite", "surrogate"}
        for progress in records.values():
            assert json.loads(progress.to_json().encode())["id"] == progress.id
        assert {name: getattr(records[name], name) for name in WRONG} == {
            **dict.fromkeys(WRONG), "current": 0, "meta": {}, "created_at": records["created_at"].created_at,
        }  # fmt: skip
        assert records["infinite"].meta == {"a": None, "b": None}
        assert records["surrogate"].description == "a\ufffdb"

    def test_who_watches_it_and_who_watches_others_see_the_others_to_their_ends(self, backend: Backend) -> None:
        backend.write([start("good", current=1), start("bad", current=1)])
        with opened(backend) as kit, kit.hub.view(["good", "bad"]) as before:
            gathered(before, lambda shown: shown.keys() == {"good", "bad"})
            # A viewer that begins later must not be pushed a record that could be decoded, and was still under way.
            self.plant(
                backend,
                "bad",
                "{",
                wait=lambda: found(before, lambda progress: progress.id == "bad" and progress.version.seq == 2),
            )
            backend.write([update("good", 2, current=2)])
            found(before, lambda progress: progress.id == "good" and progress.current == 2)
            with kit.hub.view(["bad"]) as alone, kit.hub.view(["good", "bad", "unknown"]) as after:
                for seq in range(3, 7):
                    # The heartbeat of the one is pushed together with the progress of the other.
                    backend.write([update("bad", 2), update("good", seq, current=seq)])
                    for viewer in (before, after):
                        found(viewer, lambda progress, seq=seq: progress.id == "good" and progress.current == seq)  # type: ignore[misc]
                assert alone.get(2 * INTERVAL) == {}
                backend.write([start("bad", token="next", current=8)])
                for viewer in (before, alone, after):
                    found(viewer, lambda progress: progress.id == "bad" and progress.current == 8)
                backend.write([update("good", 7, state=State.SUCCEEDED)])
                for viewer in (before, after):
                    found(viewer, lambda progress: progress.id == "good" and progress.done)

    def test_a_watch_that_begins_with_it_shows_the_job_when_it_starts_again(self, backend: Backend) -> None:
        self.plant(backend, "bad", '["a"]')
        with viewing(backend, ["bad", "good"]) as viewer:
            assert viewer.get(3 * INTERVAL) == {}
            backend.write([start("good")])
            assert found(viewer, lambda progress: True).id == "good"
            backend.write([start("bad", token="next")])
            assert found(viewer, lambda progress: progress.id == "bad").state is State.RUNNING

    def test_a_push_leaves_it_out_and_reports_the_others(self, backend: Backend) -> None:
        if not isinstance(backend, SupportsPush):
            return
        observer = RecordingObserver()
        backend.subscribe(observer.notify_all, nothing).add(["bad", "good"])
        self.plant(backend, "bad", "no JSON")
        backend.write([update("bad", 2), start("good", current=5)])
        observer.wait_for(lambda progress: progress.id == "good" and progress.current == 5)

    def test_every_kind_of_write_replaces_it_or_leaves_it_and_none_fails(self, backend: Backend) -> None:
        ids = ["start", "retry", "owner", "external", "pending", "cancel", "beat"]
        assert backend.read(ids) == {}, "a backend that follows what is sent does so from the first read on"
        for id in ids:
            self.plant(backend, id, "{")
        backend.write([start("good")])
        batch = [
            start("start", token="next", current=2),
            start("retry", token="next", attempt=2, current=2),
            update("owner", 3, current=2),
            external_update("external", State.FAILED, current=2),
            external_update("pending"),
            update("beat", 2),
            update("good", 2, current=2),
        ]
        runs = backend.write(batch)
        assert runs["start"] >= 1
        assert backend.request_cancel(["cancel"]) <= {"cancel"}
        records = backend.read([write.id for write in batch])
        assert {id: progress.current for id, progress in records.items() if id not in {"pending", "beat"}} == {
            "start": 2, "retry": 2, "owner": 2, "external": 2, "good": 2,
        }  # fmt: skip
        assert records["external"].state is State.FAILED
        for id in ("pending", "beat", "cancel"):
            assert write_and_read(backend, start(id, token="last", current=9)).current == 9
        assert seen(
            [write_and_read(backend, update("start", 2, token="next", run=runs["start"], state=State.SUCCEEDED))]
        )

    def test_it_is_logged_once(self, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
        id = f"undecodable-{uuid4().hex}"
        self.plant(backend, id, "{")
        with caplog.at_level(logging.INFO, "progresskit"):
            for _ in range(3):
                assert backend.read([id]) == {}
        assert [record.levelname for record in caplog.records if id in record.getMessage()] == ["WARNING"]
