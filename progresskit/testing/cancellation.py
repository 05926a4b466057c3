"""The fourth promise of a backend: a request to cancel stays with the run that it was made in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.progress import FINAL_STATES, State

from .helpers import read, write_and_read
from .writes import LIFE, external_update, start, update

if TYPE_CHECKING:
    from progresskit.abc import Backend

FINAL = sorted(FINAL_STATES)


class CancelContract:
    """Which jobs accept a request to cancel, and how long it stays."""

    def test_a_request_to_cancel_is_refused_for_a_job_that_is_unknown_or_done(self, backend: Backend) -> None:
        backend.write([external_update("pending"), start("running"), start("retrying", state=State.RETRYING)])
        backend.write([start(state.value, state=state) for state in FINAL])
        ids = ["unknown", *(state.value for state in State)]
        assert backend.request_cancel(ids) == {"pending", "running", "retrying"}
        assert backend.cancel_requested(ids) == {"pending", "running", "retrying"}
        assert {
            id for id, progress in backend.read(ids).items() if progress.cancel_requested
        } == backend.cancel_requested(ids)

    def test_a_request_to_cancel_moves_the_cursor_and_not_the_version(self, backend: Backend) -> None:
        backend.write([start("job", current=3)])
        backend.request_cancel(["job"])
        progress = read(backend, "job")
        assert (str(progress.version), progress.cursor, progress.current) == ("1.1.1", f"{LIFE}-1.1.1c", 3)

    def test_asking_again_is_accepted_and_changes_nothing(self, backend: Backend) -> None:
        backend.write([start("job")])
        assert backend.request_cancel(["job"]) == backend.request_cancel(["job"]) == {"job"}

    def test_a_request_to_cancel_stays_with_its_run(self, backend: Backend) -> None:
        backend.write([external_update("job")])
        backend.request_cancel(["job"])
        steps = [
            start("job"),
            update("job", 2, current=2),
            update("job", 2, current=2),
            update("job", 3, state=State.RETRYING),
            start("job", token="second", attempt=2),
            update("job", 2, token="second", attempt=2),
        ]
        for write in steps:
            assert write_and_read(backend, write).cancel_requested, write
            assert backend.cancel_requested(["job"]) == {"job"}

    def test_a_request_to_cancel_is_cleared_by_the_next_run(self, backend: Backend) -> None:
        backend.write([start("again"), start("redelivered")])
        backend.request_cancel(["again", "redelivered"])
        backend.write([update("again", 2, state=State.CANCELLED)])
        backend.write([start("again", token="new"), start("redelivered", token="new")])
        assert backend.cancel_requested(["again", "redelivered"]) == set()
        assert not any(progress.cancel_requested for progress in backend.read(["again", "redelivered"]).values())

    def test_nothing_is_asked_of_nobody(self, backend: Backend) -> None:
        assert backend.request_cancel([]) == backend.cancel_requested([]) == set()

    def test_a_thousand_jobs_are_cancelled_at_once(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(1_000)]
        backend.write([start(id) for id in ids])
        assert backend.request_cancel(ids) == backend.cancel_requested(ids) == set(ids)
