"""Ends from outside, made by a kit on the backend: a cancel of a job that is stalled, and `Kit.end`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from progresskit.kit import Kit
from progresskit.progress import State

from .helpers import PATIENCE, read, write_and_read
from .writes import LEASE, external_update, start, update

if TYPE_CHECKING:
    from progresskit.abc import Backend

    from .doubles import FakeClock


class EndContract:
    """The end of a job without a worker, and the later reports of a worker that returns."""

    def test_a_cancel_of_a_stalled_job_ends_it_as_cancelled(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("stalled", current=3), start("alive", lease=600), external_update("waiting")])
        clock.advance(LEASE)
        with _kit(backend) as kit:
            assert [kit.cancel(id) for id in ("stalled", "alive", "waiting")] == [True] * 3
            kit.flush()
            assert not kit.cancel("stalled")
        states = {id: progress.state for id, progress in backend.read(["stalled", "alive", "waiting"]).items()}
        assert states == {"stalled": State.CANCELLED, "alive": State.RUNNING, "waiting": State.PENDING}
        ended = read(backend, "stalled")
        assert (ended.current, ended.cancel_requested, ended.stalled) == (3, True, False)

    def test_a_worker_that_returns_to_an_ended_job_changes_nothing(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", current=3)])
        clock.advance(LEASE)
        with _kit(backend) as kit:
            kit.cancel("job")
            kit.flush()
        for write in (update("job", 1), update("job", 2, current=9), update("job", 3, state=State.SUCCEEDED)):
            progress = write_and_read(backend, write)
            assert (progress.state, progress.current) == (State.CANCELLED, 3), write
        assert backend.cancel_requested(["job"]) == {"job"}, "so that it stops"

    def test_an_end_is_stored_when_it_returns_and_holds_for_its_run_only(self, backend: Backend) -> None:
        backend.write([start("cancelled", current=1), start("failed", current=2), external_update("waiting")])
        with _kit(backend) as kit:
            assert kit.end("cancelled")
            assert kit.end("failed", failed="The disk is full")
            assert kit.end("waiting")
            found = backend.read(["cancelled", "failed", "waiting"])
            assert not any(map(kit.end, (*found, "unknown")))
            assert backend.read(["unknown"]) == {}
        assert {id: progress.state for id, progress in found.items()} == {
            "cancelled": State.CANCELLED,
            "failed": State.FAILED,
            "waiting": State.CANCELLED,
        }
        error = found["failed"].redacted().error
        assert error is not None
        assert (error.type, error.message, found["failed"].current) == ("Error", "The disk is full", 2)
        progress = write_and_read(backend, start("cancelled", token="next"))
        assert (progress.state, progress.version.run, progress.cancel_requested) == (State.RUNNING, 2, False)


def _kit(backend: Backend) -> closing[Kit]:
    return closing(Kit(backend=backend, flush_seconds=PATIENCE))
