"""The base of backends on brokers that store nothing: bounds, portions, subscribers, and barriers."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, Thread

import pytest

from progresskit.backends.barrier import Barrier
from progresskit.backends.changes import Changes, portions
from progresskit.backends.replica import Replica, Stamp
from progresskit.errors import BackendUnavailable
from progresskit.progress import State, Write
from progresskit.subscriptions import SubscriptionList
from progresskit.testing import LIFE, FakeClock, RecordingObserver, start, update


class Process:
    """What a process knows."""

    def __init__(self, clock: FakeClock, **limits: int) -> None:
        self.replica, self.clock = Replica(**{"records": 10_000, **limits}), clock

    def write(self, writes: list[Write]) -> None:
        self.replica.fold(Changes(writes), Stamp(self.clock(), self.clock()))


def test_a_full_replica_forgets_those_first_that_ended_longest_ago() -> None:
    clock = FakeClock()
    full = Process(clock, records=100)
    full.write([start("live")])
    for number in range(300):
        clock.advance(1)
        full.write([start(f"job-{number}", state=State.SUCCEEDED)])
        assert len(full.replica.entries) <= 100
    assert "live" in full.replica.entries
    assert {f"job-{number}" for number in range(220, 300)} <= full.replica.entries.keys()


def test_a_replica_is_bounded_by_size_as_well_and_a_job_that_changes_does_not_fill_it() -> None:
    full = Process(FakeClock(), characters=100_000)
    full.write([start("job", description="x" * 400, state=State.FAILED)])
    for seq in range(2, 1_000):
        full.write([update("live", seq, description="x" * 400)])
    assert {*full.replica.entries} == {"job", "live"}
    for number in range(1_000):
        full.write([start(f"job-{number}", description="x" * 400, state=State.FAILED)])
    assert 50 < len(full.replica.entries) < 200


def test_a_batch_is_divided_by_its_size_and_nothing_is_lost() -> None:
    limit = 10_000
    items = [(str(number), "x" * (limit // 10)) for number in range(35)]
    parts = list(portions(items, lambda item: len(item[1]), limit))
    assert [item for part in parts for item in part] == items
    assert [len(part) for part in parts] == [7, 7, 7, 7, 7]
    assert list(portions(["x" * 3 * limit, "y"], len, limit)) == [["x" * 3 * limit], ["y"]]
    assert list(portions([], len, limit)) == []


def fail(*news: object) -> None:
    raise RuntimeError("it had to")


def test_a_subscriber_that_fails_ends_nothing_and_the_others_are_notified(caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, replica = SubscriptionList(Lock()), Replica(10)
    observer, asked, lost = RecordingObserver(), list[str](), list[int]()
    calls: list[tuple[Callable[..., None], Callable[..., None], Callable[[], None]]] = [
        (fail, fail, fail),
        (observer.notify_all, asked.extend, lambda: lost.append(1)),
    ]
    for on_update, on_cancel, on_gap in calls:
        subscriptions.subscribe(on_update, on_gap).add(["job"])
        subscriptions.subscribe_cancels(on_cancel, on_gap).add(["job"])
    replica.fold(Changes([start("job")], ["job"]), Stamp(1.0, 1.0))
    subscriptions.deliver(["job"], replica.entries, 1.0)
    subscriptions.deliver_cancels({"job"})
    subscriptions.report_gap()
    assert [progress.cursor for progress in observer.records] == [f"{LIFE}-1.1.1c"]
    assert asked == ["job"]
    assert lost == [1, 1]
    assert caplog.text.count("RuntimeError: it had to") == 4


class Calls:
    """Callers of a barrier, each in a thread of its own; the first message is held back until `go` is set."""

    def __init__(self, *failures: BaseException | None) -> None:
        self.sending, self.go = Event(), Event()
        self.sent, self.failed = list[float](), list[BaseException]()
        self.failures = [*failures]
        self.barrier = Barrier(self.send)
        self.threads = [Thread(target=self.wait) for _ in range(10)]

    def send(self, deadline: float) -> None:
        self.sent.append(deadline)
        self.sending.set()
        assert self.go.wait(60)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure

    def wait(self) -> None:
        try:
            self.barrier.wait(60.0)
        except BaseException as error:
            self.failed.append(error)

    def run(self) -> None:
        self.threads[0].start()
        assert self.sending.wait(60)
        for thread in self.threads[1:]:
            thread.start()
        while len(self.barrier._changed._waiters) < 9:  # type: ignore[attr-defined]
            pass
        self.go.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def test_callers_at_a_barrier_share_the_message_after_the_one_under_way() -> None:
    calls = Calls()
    calls.run()
    assert len(calls.sent) == 2
    assert calls.failed == []


@pytest.mark.parametrize("failure", [BackendUnavailable("gone"), KeyboardInterrupt()])
def test_a_message_that_fails_is_the_failure_of_its_sender_and_leaves_no_caller_waiting(failure: BaseException) -> None:
    calls = Calls(None, failure)
    calls.run()
    assert len(calls.sent) == 3
    assert calls.failed == [failure]
