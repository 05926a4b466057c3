"""What becomes of each record on its way to the backend, by the injected clock and without a thread."""

from __future__ import annotations

from threading import Event

import pytest

from progresskit import State
from progresskit.backoff import LONGEST_SECONDS
from progresskit.outbox import RECENT_SECONDS, Flush, Outbox
from progresskit.progress import Role, Write
from progresskit.sampler import DueWrite, Sampler
from progresskit.testing import FakeClock, external_update, start, update

from .doubles import FlakyBackend


class Jobs(Sampler):
    """Live jobs by token, each with its last record."""

    def __init__(self) -> None:
        super().__init__(interval=1, heartbeat=10)
        self.records: dict[str, tuple[Write, float]] = {}
        self.stored: list[tuple[str | None, int]] = []
        self.notified = 0

    def __len__(self) -> int:
        return len(self.records)

    def __contains__(self, token: str | None) -> bool:
        return token in self.records

    def latest(self) -> list[DueWrite]:
        return [DueWrite(*record) for record in self.records.values()]

    def mark_stored(self, token: str | None, run: int, run_token: str | None) -> None:
        self.stored.append((token, run))

    def notify_observers(self) -> None:
        self.notified += 1


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def outbox(backend: FlakyBackend, clock: FakeClock, jobs: Jobs) -> Outbox:
    return Outbox(backend, clock, jobs)


def uncertain(outbox: Outbox) -> dict[str, bool]:
    return {record.write.id: record.is_uncertain for record in outbox._records.values()}


def flushing(outbox: Outbox) -> Flush:
    flush = Flush()
    outbox.begin(flush)
    return flush


def test_a_record_is_queued_until_it_is_stored(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock, jobs: Jobs
) -> None:
    outbox.put(start("job", token="a"), clock())
    assert uncertain(outbox) == {"job": False}
    outbox.write(clock())
    assert (len(outbox), outbox.due) == (0, None)
    assert jobs.stored == [("a", 1)]
    assert backend.store.read(["job"])["job"].state is State.RUNNING


def test_a_newer_record_of_a_run_replaces_the_one_that_waits(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    outbox.put(start("job", current=1), clock())
    outbox.put(start("other"), clock())
    outbox.put(start("job", seq=2, current=2), clock())
    outbox.write(clock())
    assert [(write.id, write.seq) for write in backend.written] == [("job", 2), ("other", 1)]


def test_an_external_update_is_written_after_all_that_waited(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    outbox.put(external_update("job"), clock())
    outbox.put(start("job"), clock())
    outbox.put(external_update("job", State.FAILED), clock())
    outbox.write(clock())
    assert [write.role for write in backend.written] == [Role.START, Role.EXTERNAL]


def test_the_age_of_a_record_counts_from_the_beginning_of_its_run(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    outbox.put(start("job"), clock())
    clock.advance(7)
    outbox.write(clock())
    assert backend.written[0].age == pytest.approx(7)


def test_a_record_that_an_outage_has_met_is_uncertain_and_a_start_goes_out_as_late(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock, jobs: Jobs
) -> None:
    backend.down = True
    outbox.put(start("tried"), clock())
    outbox.write(clock())
    outbox.put(start("held"), clock())
    assert outbox.down
    assert uncertain(outbox) == {"tried": True, "held": True}
    assert jobs.notified == 1
    backend.down = False
    clock.advance(LONGEST_SECONDS)
    outbox.write(clock())
    assert [(write.id, write.late) for write in backend.written] == [("tried", True), ("held", True)]
    outbox.put(start("after"), clock())
    outbox.write(clock())
    assert not backend.written[-1].late


def test_nothing_is_written_during_a_pause_unless_that_is_wanted(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.down = True
    outbox.put(start("job"), clock())
    outbox.write(clock())
    backend.down = False
    assert outbox.due is not None
    assert outbox.due > clock()
    outbox.write(clock())
    assert len(outbox) == 1
    outbox.retry_now()
    outbox.write(clock())
    assert len(outbox) == 0


def test_after_an_outage_live_jobs_and_recent_ends_are_written_again(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock, jobs: Jobs
) -> None:
    for id in ("old", "recent"):
        clock.advance(RECENT_SECONDS + 1)
        outbox.put(start(id, token=id, state=State.SUCCEEDED), clock())
        outbox.write(clock())
    jobs.records["live"] = update("live", 5, token="live"), clock()
    backend.down = True
    outbox.put(start("job"), clock())
    outbox.write(clock())
    backend.down, backend.batches = False, []
    clock.advance(LONGEST_SECONDS)
    outbox.write(clock())
    assert [write.id for write in backend.written] == ["job", "live", "recent"]
    restored = backend.written[-1]
    assert (restored.role, restored.run, restored.late) == (Role.UPDATE, 1, True)


def test_a_single_refused_record_is_kept_and_tried_again_after_a_pause(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.refused = {"bad"}
    outbox.put(start("bad"), clock())
    outbox.write(clock())
    assert uncertain(outbox) == {"bad": True}
    assert not outbox.down
    assert outbox.due == clock() + LONGEST_SECONDS
    backend.refused = set()
    clock.advance(LONGEST_SECONDS)
    outbox.write(clock())
    assert (len(outbox), outbox.lost) == (0, 0)


def test_a_refused_record_among_others_is_discarded_and_counted(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.refused = {"bad"}
    waiter = Event()
    outbox.put(start("bad", token="bad"), clock(), waiter.set)
    outbox.put(start("good"), clock())
    outbox.write(clock())
    assert (len(outbox), outbox.lost) == (0, 1)
    assert waiter.is_set()
    assert outbox.refusal(("bad", "bad")) == "a record of job bad is not stored: the backend refuses it: no"


def test_waiting_ends_when_a_record_is_stored_and_when_waiting_is_no_use(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    stored, down = Event(), Event()
    outbox.put(start("job"), clock(), stored.set)
    assert not stored.is_set()
    outbox.write(clock())
    assert stored.is_set()
    backend.down = True
    outbox.put(start("job", token="next"), clock(), down.set)
    outbox.write(clock())
    assert down.is_set()
    assert ("job", "next") in outbox


def test_waiting_ends_for_a_record_that_is_given_up_as_soon_as_it_comes(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr("progresskit.outbox.UNSENT", 0)
    waiter = Event()
    outbox.put(start("job"), clock(), waiter.set)
    assert waiter.is_set()
    assert (len(outbox), outbox.lost) == (0, 1)


def test_a_flush_waits_for_what_was_there_when_it_began(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.down = True
    outbox.put(start("before"), clock())
    flush = flushing(outbox)
    outbox.write(clock())
    assert not flush.finished.is_set()
    outbox.forget("before")
    outbox.put(start("after"), clock())
    outbox.write(clock())
    assert flush.finished.is_set()
    assert not flush.refused


def test_a_refusal_is_reported_by_one_flush(outbox: Outbox, backend: FlakyBackend, clock: FakeClock) -> None:
    backend.refused = {"bad"}
    outbox.put(start("bad"), clock())
    outbox.put(start("good"), clock())
    outbox.write(clock())
    first = flushing(outbox)
    outbox.write(clock())
    assert len(first.refused) == 1
    outbox.mark_reported(first.refused)
    second = flushing(outbox)
    outbox.write(clock())
    assert second.finished.is_set()
    assert not second.refused


def test_what_is_forgotten_is_neither_written_nor_written_again(
    outbox: Outbox, backend: FlakyBackend, clock: FakeClock, jobs: Jobs
) -> None:
    outbox.put(start("ended", token="ended", state=State.SUCCEEDED), clock())
    outbox.write(clock())
    jobs.records["live"] = start("job", token="live"), clock()
    backend.down, waiter = True, Event()
    outbox.put(start("job", token="over", state=State.FAILED), clock(), waiter.set)
    outbox.put(start("job", token="live"), clock())
    outbox.write(clock())
    outbox.forget("job")
    outbox.forget("ended")
    assert waiter.is_set()
    backend.down, backend.batches = False, []
    clock.advance(LONGEST_SECONDS)
    outbox.write(clock())
    assert {write.token for write in backend.written} == {"live"}
