"""The second and third promise of a backend: absent ids, the lifetime of records, and stalled jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.progress import State, Version, moment

from .helpers import read, seen, write_and_read
from .writes import LEASE, LIFE, external_update, record, start, update

if TYPE_CHECKING:
    from progresskit.abc import Backend

    from .doubles import FakeClock


class KeepContract:
    """Which records exist, by id and by the clock."""

    def test_an_id_that_nobody_reported_is_absent(self, backend: Backend) -> None:
        backend.write([start("known")])
        assert backend.read(["unknown"]) == {}
        assert backend.read([]) == {}
        assert backend.read(["unknown", "known"]).keys() == {"known"}

    def test_asking_for_a_job_does_not_make_it(self, backend: Backend) -> None:
        backend.request_cancel(["job"])
        backend.cancel_requested(["job"])
        backend.write([start("other")])
        assert backend.read(["job"]) == {}

    def test_ids_are_distinguished_to_the_last_letter(self, backend: Backend) -> None:
        ids = ["job", "Job", "JOB", "job_", "job.", "job:", "job-", "job_1", "jobs1", "0", "00", "x" * 128, "x" * 127]
        backend.write([start(id, description=id) for id in ids])
        assert {id: progress.description for id, progress in backend.read(ids).items()} == dict(
            zip(ids, ids, strict=True)
        )
        assert backend.request_cancel(["job"]) == {"job"}
        assert backend.cancel_requested(ids) == {"job"}

    def test_an_owner_is_kept_with_each_record_of_the_job(self, backend: Backend) -> None:
        backend.write([external_update("job", owner="ada"), start("nobodys")])
        assert [read(backend, id).owner for id in ("job", "nobodys")] == ["ada", None]
        backend.write([start("job", owner="ada")])
        backend.write([update("job", 2, owner="ada", meta={"owner": "bob"})])
        assert read(backend, "job").owner == "ada"
        backend.write([external_update("job", State.FAILED, owner="bob")])
        assert (read(backend, "job").state, read(backend, "job").owner) == (State.FAILED, "ada")
        backend.write([start("job", token="another", owner="bob")])
        assert (read(backend, "job").version.run, read(backend, "job").owner) == (2, "bob")

    def test_a_thousand_ids_are_read_at_once(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        backend.write([start(id, current=number) for number, id in enumerate(ids) if number % 2])
        records = backend.read(ids)
        assert {id: progress.current for id, progress in records.items()} == {
            id: number for number, id in enumerate(ids) if number % 2
        }

    def test_ids_may_be_any_collection_and_hold_one_twice(self, backend: Backend) -> None:
        backend.write([start("a"), start("b")])
        for ids in (["a", "b", "a"], ("a", "b"), {"a", "b"}, {"a": 1, "b": 2}.keys(), frozenset(("a", "b"))):
            assert backend.read(ids).keys() == {"a", "b"}
            assert backend.request_cancel(ids) == backend.cancel_requested(ids) == {"a", "b"}

    def test_a_record_is_gone_when_its_ttl_is_over(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("short", ttl=60), start("long", ttl=600)])
        clock.advance(59)
        assert backend.read(["short", "long"]).keys() == {"short", "long"}
        clock.advance(1)
        assert backend.read(["short", "long"]).keys() == {"long"}
        assert backend.request_cancel(["short", "long"]) == {"long"}
        assert backend.cancel_requested(["short", "long"]) == {"long"}

    def test_heartbeats_keep_a_job_that_is_longer_than_its_ttl(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=60)])
        for _ in range(20):
            clock.advance(40)
            backend.write([update("job", 1, ttl=60)])
        assert read(backend, "job").version == Version(1, 1, 1)

    def test_a_write_that_is_ignored_keeps_nothing_alive(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=60), start("ended", state=State.FAILED, ttl=60)])
        backend.write([update("job", 5, ttl=60)])
        clock.advance(40)
        backend.write([update("job", 3, ttl=60), external_update("ended", ttl=60)])
        backend.write([update("job", 6, token="nobody", ttl=60), update("ended", 9, ttl=60)])
        backend.write([external_update("job", ttl=60)])
        backend.request_cancel(["job"])
        clock.advance(20)
        assert backend.read(["job", "ended"]) == {}

    def test_what_expired_begins_again_as_if_it_had_never_been(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", ttl=60, created_at=moment(1)), start("sent", ttl=60)])
        backend.request_cancel(["job"])
        backend.write([start("job", token="second", ttl=60)])
        backend.request_cancel(["job"])
        clock.advance(60)
        assert backend.write([start("job", token="third"), external_update("sent")])["job"] == 1
        records = backend.read(["job", "sent"])
        assert seen(records.values()) == seen(
            [record("job", lease=LEASE), record("sent", State.PENDING, version=Version(1, 1, 0), lease=LEASE)]
        )

    def test_a_running_job_is_stalled_when_its_lease_is_over_and_not_before(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("job", lease=20), start("other", lease=200)])
        clock.advance(19)
        assert not read(backend, "job").stalled
        clock.advance(1)
        assert read(backend, "job").stalled
        assert read(backend, "job").cursor == f"{LIFE}-1.1.1s"
        assert not read(backend, "other").stalled

    def test_a_heartbeat_ends_the_stall(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", lease=20)])
        clock.advance(25)
        assert read(backend, "job").stalled
        assert not write_and_read(backend, update("job", 1, lease=20)).stalled
        clock.advance(20)
        assert read(backend, "job").stalled

    def test_lease_and_ttl_are_those_of_the_last_write(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("longer", lease=10, ttl=60), start("shorter", lease=50, ttl=600)])
        backend.write([update("longer", 1, lease=50, ttl=600), update("shorter", 1, lease=10, ttl=60)])
        clock.advance(20)
        assert {id: job.stalled for id, job in backend.read(["longer", "shorter"]).items()} == {
            "longer": False,
            "shorter": True,
        }
        clock.advance(40)
        assert backend.read(["longer", "shorter"]).keys() == {"longer"}

    def test_a_job_that_is_heard_of_without_progress_is_not_stalled(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", lease=30)])
        for _ in range(12):
            clock.advance(10)
            assert not write_and_read(backend, update("job", 1, lease=30)).stalled

    def test_a_write_that_is_ignored_does_not_end_a_stall(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job")])
        backend.write([start("job", token="owner")])
        clock.advance(LEASE)
        backend.write([update("job", 2)])
        backend.request_cancel(["job"])
        assert read(backend, "job").stalled

    def test_a_clock_that_is_set_back_neither_hides_a_dead_job_nor_a_living_one(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        clock.advance(7_200)
        backend.write([start("dead", lease=20), start("alive", lease=20)])
        clock.set_back(3_600)
        assert not write_and_read(backend, update("alive", 1, lease=20)).stalled, "it was heard of just now"
        clock.advance(19)
        assert not read(backend, "alive").stalled
        clock.advance(1)
        assert {id: progress.stalled for id, progress in backend.read(["dead", "alive"]).items()} == {
            "dead": True,
            "alive": True,
        }
        assert not write_and_read(backend, update("dead", 1, lease=20)).stalled
        clock.set_back(3_600)
        assert backend.forget(["dead", "alive"]) == {"dead", "alive"}

    def test_only_a_running_job_stalls(self, backend: Backend, clock: FakeClock) -> None:
        states = [state for state in State if state is not State.PENDING]
        backend.write([external_update("pending"), *(start(state.value, state=state) for state in states)])
        clock.advance(LEASE * 2)
        stalled = {id for id, progress in backend.read([state.value for state in State]).items() if progress.stalled}
        assert stalled == {"running"}
