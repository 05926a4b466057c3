"""The testing kit itself: the doubles do what they say, and the contract finds a backend that does not."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection, Iterable, Sequence

import pytest

from progresskit import Observer, Progress, State, Subscription
from progresskit.memory import MemoryBackend
from progresskit.progress import Role, Write
from progresskit.testing import (
    BackendContract,
    CancelPushContract,
    FakeClock,
    ListingContract,
    PushContract,
    RecordingObserver,
    WatchContract,
    capabilities,
    record,
    start,
    update,
    watching,
)
from progresskit.testing.cancellation import CancelContract
from progresskit.testing.expiry import KeepContract
from progresskit.testing.folding import FoldContract


def test_a_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(5)
    assert (clock(), clock()) == (5, 5)
    clock.advance(2.5)
    assert clock() == 7.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_a_recording_observer_remembers_all_records() -> None:
    observer = RecordingObserver()
    assert isinstance(observer, Observer)
    assert (observer.records, observer.last, observer.states) == ([], None, [])
    received = [record("job", state) for state in (State.PENDING, State.RUNNING, State.RUNNING, State.FAILED)]
    for progress in received:
        observer.notify(progress)
    assert (observer.records, observer.last) == (received, received[-1])
    assert observer.states == [State.PENDING, State.RUNNING, State.FAILED]


def test_waiting_finds_what_was_reported_before_and_what_another_thread_reports_later() -> None:
    observer = RecordingObserver()
    observer.notify(record("job", current=1))
    assert observer.wait_for(lambda progress: progress.current == 1, timeout=0).current == 1
    teller = threading.Thread(target=lambda: observer.notify_all([record("job", current=n) for n in (2, 3, 4)]))
    teller.start()
    assert observer.wait_for(lambda progress: progress.current >= 3).current == 3
    teller.join()


def test_waiting_in_vain_ends_with_what_was_seen_instead() -> None:
    observer = RecordingObserver()
    with pytest.raises(TimeoutError, match="0 records"):
        observer.wait_for(lambda progress: True, timeout=0.01)
    observer.notify(record("job", description="the last one"))
    with pytest.raises(TimeoutError, match="the last one"):
        observer.wait_for(lambda progress: progress.done, timeout=0.01)


# Backends with one fault each.


class WritesEverything(MemoryBackend):
    """Lets late writes replace an end."""

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        for id in [id for id, entry in self._entries.items() if entry.is_final]:
            del self._entries[id]
        return super().write(batch)


class OnlyStarts(MemoryBackend):
    """Begins a new run with each write."""

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        return super().write(
            [w if w.role is Role.EXTERNAL else w._replace(role=Role.START, token=w.body) for w in batch]
        )


class ForgetsRuns(MemoryBackend):
    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        return dict.fromkeys(super().write(batch), 1)


class InventsJobs(MemoryBackend):
    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        return {id: record(id, State.PENDING) for id in ids} | super().read(ids)


class NeverForgets(MemoryBackend):
    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        return super().write([write._replace(ttl=1e9) for write in batch])


class NeverStalls(MemoryBackend):
    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        return {id: progress._replace(stalled=False) for id, progress in super().read(ids).items()}


class CancelsAnything(MemoryBackend):
    def request_cancel(self, ids: Collection[str]) -> set[str]:
        super().request_cancel(ids)
        return set(ids)


class ForgetsCancels(MemoryBackend):
    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        for write in batch:
            entry = self._entries.get(write.id)
            if entry is not None:
                self._entries[write.id] = entry._replace(stored=entry.stored._replace(cancel_requested=False))
        return super().write(batch)


class TakesTenAtOnce(MemoryBackend):
    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        return super().read(list(ids)[:10])


class IgnoresCase(MemoryBackend):
    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        known = {id.lower(): id for id in self._entries}
        found = super().read([known[id.lower()] for id in ids if id.lower() in known])
        return {id: found[known[id.lower()]] for id in ids if known.get(id.lower()) in found}


FAULTY = [
    WritesEverything, OnlyStarts, ForgetsRuns, InventsJobs, NeverForgets, NeverStalls, CancelsAnything, ForgetsCancels,
    TakesTenAtOnce, IgnoresCase,
]  # fmt: skip


def failures(make: Callable[[FakeClock], MemoryBackend], *parts: type, named: str = "test_") -> list[str]:
    """Run the tests of these parts whose names begin so, without the random ones, and name those that fail."""
    failed = []
    for part in parts:
        for name, test in inspect.getmembers(part, inspect.isfunction):
            if not name.startswith(named) or "random" in name:
                continue
            clock = FakeClock()
            arguments = {"backend": make(clock), "clock": clock}
            try:
                test(part(), **{wanted: arguments[wanted] for wanted in list(inspect.signature(test).parameters)[1:]})
            except (AssertionError, KeyError, TimeoutError):
                failed.append(name)
    return failed


STORING = (FoldContract, KeepContract, CancelContract)
TELLING = (WatchContract, PushContract, CancelPushContract)


def test_the_contract_holds_for_a_backend_without_a_fault() -> None:
    assert failures(MemoryBackend, *STORING, *TELLING, ListingContract) == []


@pytest.mark.parametrize("backend", FAULTY, ids=lambda backend: backend.__name__)
def test_the_contract_finds_each_fault_by_name(backend: type[MemoryBackend]) -> None:
    assert failures(backend, *STORING) != []


class Nothing(Subscription):
    def add(self, ids: Collection[str]) -> None: ...

    def remove(self, ids: Collection[str]) -> None: ...

    def close(self) -> None: ...


class NeverNotifies(MemoryBackend):
    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        return Nothing()


class NotifiesOnce(MemoryBackend):
    """Tells of the first change of each job and of no other."""

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        received = set[str]()

        def first(records: Iterable[Progress]) -> None:
            fresh = [progress for progress in records if progress.id not in received]
            received.update(progress.id for progress in fresh)
            on_update(fresh)

        return super().subscribe(first, on_gap)


class KeepsCancelsToItself(MemoryBackend):
    def request_cancel(self, ids: Collection[str]) -> set[str]:
        subscriptions, self._subscriptions._updates = self._subscriptions._updates, []
        asked = super().request_cancel(ids)
        self._subscriptions._updates = subscriptions
        return asked


class NeverAsks(MemoryBackend):
    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        return Nothing()


class AsksWhoWasRefused(MemoryBackend):
    def request_cancel(self, ids: Collection[str]) -> set[str]:
        for subscription in self._subscriptions._cancels:
            subscription.on_update(set(ids) & subscription.ids)
        return super().request_cancel(ids)


@pytest.mark.parametrize(
    ("backend", "part", "by"),
    [
        (NeverNotifies, WatchContract, "test_no_version_goes_back_and_what_is_last_arrives"),
        (NeverNotifies, PushContract, "test_each_change_of_a_watched_job_is_reported"),
        (NotifiesOnce, WatchContract, "test_no_version_goes_back_and_what_is_last_arrives"),
        (NotifiesOnce, PushContract, "test_the_newest_state_always_arrives"),
        (KeepsCancelsToItself, WatchContract, "test_a_request_to_cancel_is_seen"),
        (KeepsCancelsToItself, PushContract, "test_a_request_to_cancel_is_reported"),
        (NeverAsks, CancelPushContract, "test_a_request_to_the_next_run_is_reported_too"),
        (AsksWhoWasRefused, CancelPushContract, "test_a_request_that_is_refused_is_not_reported"),
    ],
)
def test_each_fault_of_what_is_reported_is_found_too(
    backend: type[MemoryBackend], part: type, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (watching, capabilities):
        monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(RecordingObserver.wait_for, "__defaults__", (0.3,))
    assert failures(backend, part, named=by) == [by]


def test_a_part_of_the_contract_that_was_forgotten_is_missed() -> None:
    with pytest.raises(AssertionError, match="PushContract"):
        BackendContract().test_the_suite_has_a_part_for_each_power_of_the_backend(MemoryBackend())


def test_a_part_is_missed_for_pushed_cancels_too() -> None:
    class Quiet(BackendContract, PushContract, ListingContract):
        """A suite without the part."""

    with pytest.raises(AssertionError, match="CancelPushContract"):
        Quiet().test_the_suite_has_a_part_for_each_power_of_the_backend(MemoryBackend())


def test_builders_make_what_the_fold_takes() -> None:
    backend = MemoryBackend(FakeClock())
    assert backend.write([start("job", current=1, token="me")]) == {"job": 1}
    backend.write([update("job", 2, token="me", current=2, state=State.SUCCEEDED)])
    assert (backend.read(["job"])["job"].current, backend.read(["job"])["job"].state) == (2, State.SUCCEEDED)
