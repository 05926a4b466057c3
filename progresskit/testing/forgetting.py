"""The fifth promise of a backend: a forgotten job is as one that was never reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.progress import FINAL_STATES, State, Version, moment

from .helpers import read, write_and_read
from .watching import opened
from .writes import LEASE, external_update, start, update

if TYPE_CHECKING:
    from progresskit.abc import Backend

    from .doubles import FakeClock

FINAL = sorted(FINAL_STATES)


class ForgetContract:
    """Which jobs can be forgotten, and the state of their ids afterwards."""

    def test_jobs_that_are_done_or_stalled_are_forgotten_and_no_others(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("stalled"), start("alive", lease=600), start("retrying", state=State.RETRYING)])
        backend.write([external_update("pending"), *(start(state.value, state=state) for state in FINAL)])
        clock.advance(LEASE)
        backend.write([start("ended-from-outside", lease=600)])
        backend.write([external_update("ended-from-outside", State.FAILED)])
        gone = {"stalled", "ended-from-outside", *(state.value for state in FINAL)}
        ids = ["unknown", "alive", "retrying", "pending", *gone]
        assert backend.forget(ids) == gone
        assert backend.read(ids).keys() == {"alive", "retrying", "pending"}
        assert backend.request_cancel(gone) == backend.cancel_requested(gone) == backend.forget(gone) == set()

    def test_a_job_that_is_heard_of_again_is_not_forgotten(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job")])
        clock.advance(LEASE)
        backend.write([update("job", 1)])
        assert backend.forget(["job"]) == set()
        assert not read(backend, "job").stalled

    def test_an_expired_job_is_not_there_to_be_forgotten(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", state=State.FAILED, ttl=60)])
        clock.advance(60)
        assert backend.forget(["job"]) == set()

    def test_the_next_run_of_a_forgotten_job_is_its_first(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("done", token="a"), start("stalled"), external_update("sent", State.CANCELLED)])
        backend.request_cancel(["done", "stalled"])
        backend.write([start("done", token="b", state=State.SUCCEEDED, description="before")])
        clock.advance(LEASE)
        ids = ["done", "stalled", "sent"]
        assert backend.forget(ids) == set(ids)
        clock.advance(1)
        assert backend.write([start("done", token="c"), start("stalled", token="c")]) == {"done": 1, "stalled": 1}
        backend.write([external_update("sent")])
        backend.write([update("done", 2, token="c", current=2)])
        records = backend.read(ids)
        assert {id: record.version for id, record in records.items()} == {
            "done": Version(1, 1, 2),
            "stalled": Version(1, 1, 1),
            "sent": Version(1, 1, 0),
        }
        assert not any(record.cancel_requested or record.description for record in records.values())
        assert write_and_read(backend, update("done", 3, token="c", state=State.SUCCEEDED)).state is State.SUCCEEDED
        assert backend.forget(["done"]) == {"done"}

    def test_a_worker_that_returns_brings_its_forgotten_job_back(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", current=1)])
        clock.advance(LEASE)
        backend.forget(["job"])
        assert write_and_read(backend, update("job", 2, current=2)).current == 2

    def test_nobody_is_forgotten(self, backend: Backend) -> None:
        assert backend.forget([]) == set()

    def test_a_thousand_jobs_are_forgotten_at_once(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        backend.write([start(id, state=State.SUCCEEDED) for id in ids])
        assert backend.forget(ids) == set(ids)
        assert backend.read(ids) == {}

    def test_who_comes_to_a_forgotten_job_sees_its_next_run_only(self, backend: Backend) -> None:
        backend.write([start("job", state=State.SUCCEEDED)])
        with opened(backend) as kit, kit.hub.view(["job"]) as stayed:
            assert stayed.get(60)["job"].done
            assert kit.forget("job")
            assert kit.get("job") is None
            with kit.hub.view(["job"]) as late:
                assert late.get(0.2) == {}
                backend.write([start("job", token="next", created_at=moment(1_800_000_000))])
                assert not late.get(60)["job"].done
                assert not stayed.get(60)["job"].done
