"""The promises of optional capabilities: a part of the contract for each."""

from __future__ import annotations

from threading import Condition
from typing import TYPE_CHECKING

from progresskit.progress import FINAL_STATES, State, Version

from .doubles import RecordingObserver
from .helpers import PATIENCE, backend_of, names, nothing, seen, write_and_read
from .writes import LIFE, external_update, start, update

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from progresskit.abc import SupportsCancelPush, SupportsListing, SupportsPush
    from progresskit.progress import Write

    from .doubles import FakeClock

    Answer = tuple[Mapping[str, int], Mapping[str, str]] | None
    Way = Callable[[Write], Answer]


class PushContract:
    """The promises of a backend with `SupportsPush`."""

    def test_each_change_of_a_watched_job_is_reported(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        listener = backend.subscribe(observer.notify_all, nothing)
        listener.add(["job"])
        for write in [
            external_update("job"),
            start("job"),
            update("job", 2, current=2),
            update("job", 3, state=State.FAILED),
        ]:
            stored = seen([write_and_read(store, write)])
            observer.wait_for(lambda progress, stored=stored: seen([progress]) == stored)  # type: ignore[misc]
        assert observer.states == [State.PENDING, State.RUNNING, State.FAILED]
        listener.close()

    def test_a_request_to_cancel_is_reported(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        backend.subscribe(observer.notify_all, nothing).add(["job"])
        store.write([start("job")])
        store.request_cancel(["job"])
        observer.wait_for(lambda progress: progress.cancel_requested)

    def test_a_heartbeat_is_reported_so_that_leases_can_be_followed(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        backend.subscribe(observer.notify_all, nothing).add(["job"])
        store.write([start("job")])
        observer.wait_for(lambda progress: len(observer.records) == 1)
        store.write([update("job", 1)])
        assert observer.wait_for(lambda progress: len(observer.records) == 2).version == Version(1, 1, 1)

    def test_what_is_not_watched_or_no_longer_is_not_reported(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        listener = backend.subscribe(observer.notify_all, nothing)
        listener.add(["left", "kept"])
        listener.remove(["left", "never watched"])
        store.write([start("left"), start("other"), start("kept")])
        store.write([update("left", 2), update("other", 2), update("kept", 2)])
        observer.wait_for(lambda progress: progress.version.seq == 2)
        assert {progress.id for progress in observer.records} == {"kept"}

    def test_a_closed_listener_is_sent_nothing_while_others_are(self, backend: SupportsPush) -> None:
        closed, other, store = RecordingObserver(), RecordingObserver(), backend_of(backend)
        listeners = [backend.subscribe(observer.notify_all, nothing) for observer in (closed, other)]
        for listener in listeners:
            listener.add(["job"])
        listeners[0].close()
        store.write([start("job")])
        other.wait_for(lambda progress: progress.id == "job")
        assert closed.records == []

    def test_watching_a_job_late_reports_what_changes_from_then_on(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        listener = backend.subscribe(observer.notify_all, nothing)
        store.write([start("job")])
        listener.add(["job"])
        store.write([update("job", 2)])
        observer.wait_for(lambda progress: progress.version.seq == 2)

    def test_a_thousand_jobs_changed_in_one_batch_are_all_reported(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        ids = [f"job-{number}" for number in range(1_000)]
        backend.subscribe(observer.notify_all, nothing).add(ids)
        store.write([start(id) for id in ids])
        observer.wait_for(lambda progress: len(observer.records) >= 1_000, PATIENCE)
        assert {progress.id for progress in observer.records} == set(ids)

    def test_the_newest_state_always_arrives(self, backend: SupportsPush) -> None:
        observer, store = RecordingObserver(), backend_of(backend)
        backend.subscribe(observer.notify_all, nothing).add(["job"])
        store.write([start("job")])
        for seq in range(2, 300):
            store.write([update("job", seq, current=seq)])
        observer.wait_for(lambda progress: progress.current == 299)


class CancelPushContract:
    """The promises of a backend with `SupportsCancelPush`."""

    def test_a_request_to_a_watched_job_is_reported_and_known_by_then(self, backend: SupportsCancelPush) -> None:
        asked, store = _Asked(), backend_of(backend)
        backend.subscribe_cancels(asked.notify_all, nothing).add(["waits", "runs", "retries"])
        store.write([external_update("waits"), start("runs"), start("retries", state=State.RETRYING)])
        for number, id in enumerate(("waits", "runs", "retries"), 1):
            assert store.request_cancel([id]) == {id}
            asked.wait_for(id)
            assert len(store.cancel_requested(["waits", "runs", "retries"])) == number

    def test_a_request_that_is_refused_is_not_reported(self, backend: SupportsCancelPush) -> None:
        asked, store = _Asked(), backend_of(backend)
        backend.subscribe_cancels(asked.notify_all, nothing).add(["unknown", *FINAL_STATES, "runs"])
        store.write([start("runs"), *(start(state.value, state=state) for state in FINAL_STATES)])
        assert store.request_cancel(["unknown", *FINAL_STATES]) == set()
        store.request_cancel(["runs"])
        asked.wait_for("runs")
        assert asked.ids == {"runs"}

    def test_a_request_to_what_is_not_watched_or_no_longer_is_not_reported(self, backend: SupportsCancelPush) -> None:
        asked, store = _Asked(), backend_of(backend)
        listener = backend.subscribe_cancels(asked.notify_all, nothing)
        listener.add(["left", "kept"])
        listener.remove(["left", "never watched"])
        store.write([start("left"), start("other"), start("kept")])
        for id in ("left", "other", "kept"):
            store.request_cancel([id])
        asked.wait_for("kept")
        assert asked.ids == {"kept"}

    def test_a_closed_listener_is_sent_nothing_while_others_are(self, backend: SupportsCancelPush) -> None:
        closed, other, store = _Asked(), _Asked(), backend_of(backend)
        listeners = [backend.subscribe_cancels(asked.notify_all, nothing) for asked in (closed, other)]
        for listener in listeners:
            listener.add(["job"])
        listeners[0].close()
        store.write([start("job")])
        store.request_cancel(["job"])
        other.wait_for("job")
        assert closed.ids == set()

    def test_each_request_is_reported_that_comes_after_watching(self, backend: SupportsCancelPush) -> None:
        asked, store = _Asked(), backend_of(backend)
        listener = backend.subscribe_cancels(asked.notify_all, nothing)
        ids = [f"job-{number}" for number in range(50)]
        store.write([start(id) for id in ids])
        for id in ids:
            listener.add([id])
            store.request_cancel([id])
            asked.wait_for(id)

    def test_a_request_to_the_next_run_is_reported_too(self, backend: SupportsCancelPush) -> None:
        asked, store = _Asked(), backend_of(backend)
        backend.subscribe_cancels(asked.notify_all, nothing).add(["job"])
        store.write([start("job")])
        store.request_cancel(["job"])
        asked.wait_for("job")
        store.write([update("job", 2, state=State.CANCELLED)])
        store.write([start("job", token="next")])
        assert store.cancel_requested(["job"]) == set()
        asked.forget()
        store.request_cancel(["job"])
        asked.wait_for("job")

    def test_requests_to_a_thousand_jobs_at_once_are_all_reported(self, backend: SupportsCancelPush) -> None:
        asked, store = _Asked(), backend_of(backend)
        ids = {f"job-{number}" for number in range(1_000)}
        backend.subscribe_cancels(asked.notify_all, nothing).add(ids)
        store.write([start(id) for id in sorted(ids)])
        store.request_cancel(ids)
        asked.wait_for(*ids)
        assert asked.ids == ids


class _Asked:
    """Collects the ids that `SupportsCancelPush.subscribe_cancels` pushes."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._ids: set[str] = set()

    def notify_all(self, ids: Collection[str]) -> None:
        with self._changed:
            self._ids.update(ids)
            self._changed.notify_all()

    def forget(self) -> None:
        with self._changed:
            self._ids.clear()

    @property
    def ids(self) -> set[str]:
        with self._changed:
            return set(self._ids)

    def wait_for(self, *ids: str) -> None:
        with self._changed:
            came = self._changed.wait_for(lambda: self._ids.issuperset(ids), PATIENCE)
            assert came, f"not notified of {len(set(ids) - self._ids)} requests"


class ListingContract:
    """The promises of a backend with `SupportsListing`."""

    def test_jobs_are_listed_those_written_last_first(self, backend: SupportsListing, clock: FakeClock) -> None:
        store = backend_of(backend)
        for id in ("a", "b", "c"):
            store.write([start(id)])
            clock.advance(1)
        store.write([update("a", 2)])
        for limit, expected in ((10, ["a", "c", "b"]), (2**53, ["a", "c", "b"]), (2, ["a", "c"]), (0, [])):
            assert [progress.id for progress in backend.list(kind=None, states=None, limit=limit)] == expected

    def test_what_is_listed_is_what_is_read(self, backend: SupportsListing, clock: FakeClock) -> None:
        store = backend_of(backend)
        store.write([start("stalled", lease=5), start("running", current=5, meta={"a": 1}), external_update("pending")])
        store.write([external_update("running", State.FAILED)])
        store.request_cancel(["stalled"])
        clock.advance(6)
        listed = backend.list(kind=None, states=None, limit=10)
        assert seen(listed) == seen(store.read(["stalled", "running", "pending"]).values())
        assert next(progress for progress in listed if progress.id == "stalled").cursor == f"{LIFE}-1.1.1sc"

    def test_a_list_is_of_one_kind_or_of_some_states(self, backend: SupportsListing) -> None:
        store = backend_of(backend)
        store.write([start(f"{kind}-{state}", kind=kind, state=state) for kind in ("mail", "Mail") for state in State])
        assert names(backend.list(kind="mail", states=None, limit=99)) == {f"mail-{state}" for state in State}
        some = {State.FAILED, State.RUNNING}
        assert names(backend.list(kind="Mail", states=some, limit=99)) == {"Mail-failed", "Mail-running"}
        assert names(backend.list(kind=None, states=FINAL_STATES, limit=99)) == {
            f"{kind}-{state}" for kind in ("mail", "Mail") for state in FINAL_STATES
        }
        assert backend.list(kind="post", states=None, limit=99) == []
        assert backend.list(kind="", states=None, limit=99) == []
        store.write([start("nameless", kind=""), start("none", kind=None)])
        assert names(backend.list(kind="", states=None, limit=99)) == {"nameless"}
        assert backend.list(kind=None, states=(), limit=99) == []

    def test_a_list_is_of_the_parts_of_one_job(self, backend: SupportsListing, clock: FakeClock) -> None:
        store = backend_of(backend)
        for id in ("first", "second"):
            store.write([start(id, part_of="album", kind="mail"), start(f"not-{id}", part_of="album-2", kind="mail")])
            clock.advance(1)
        store.write([start(f"{number}", meta={"part_of": "album"}) for number in range(9)])
        for limit, expected in ((10, ["second", "first"]), (1, ["second"]), (0, [])):
            parts = backend.list(kind=None, states=None, limit=limit, part_of="album")
            assert [progress.id for progress in parts] == expected
        store.write([external_update("first", State.FAILED)])
        assert names(backend.list(kind="mail", states=[State.FAILED], limit=9, part_of="album")) == {"first"}
        assert backend.list(kind="post", states=None, limit=9, part_of="album") == []
        assert backend.list(kind=None, states=None, limit=9, part_of="unknown") == []

    def test_a_job_is_listed_under_the_kind_that_its_record_shows(self, backend: SupportsListing) -> None:
        store = backend_of(backend)
        store.write([start("job", kind="old")])
        store.write([start("job", kind=None, token="next")])
        assert backend.list(kind="old", states=None, limit=99) == []
        store.write([external_update("job", State.FAILED, kind="of the external update")])
        for kind in ("old", "of the external update"):
            assert all(progress.kind == kind for progress in backend.list(kind=kind, states=None, limit=99))

    def test_what_is_gone_is_not_listed(self, backend: SupportsListing, clock: FakeClock) -> None:
        backend_of(backend).write([start("short", ttl=10), start("long")])
        clock.advance(10)
        assert names(backend.list(kind=None, states=None, limit=99)) == {"long"}

    def test_an_empty_store_lists_nothing(self, backend: SupportsListing) -> None:
        assert backend.list(kind=None, states=None, limit=99) == []
