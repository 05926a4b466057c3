"""How requests to cancel reach a job where the backend tells of them: what is asked, when, and what if it cannot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any

import pytest

from progresskit import BackendUnavailable, Kit, Subscription
from progresskit.cancels import ASK_SECONDS, LINGER_SECONDS, SOON_SECONDS
from progresskit.integrations import Integration
from progresskit.memory import MemoryBackend
from progresskit.observer import job_of
from progresskit.progress import Write
from progresskit.testing import FakeClock
from tests.services.waiting import wait_until

HEARTBEAT = 10.0
INTERVAL = 0.1


class CountedListener(Subscription):
    def __init__(self, backend: CountedBackend, inner: Subscription) -> None:
        self._backend, self._inner = backend, inner
        self.ids: set[str] = set()

    def add(self, ids: Collection[str]) -> None:
        self._backend.count("add", ids)
        self.ids |= set(ids)
        self._inner.add(ids)

    def remove(self, ids: Collection[str]) -> None:
        self._backend.count("remove", ids)
        self.ids -= set(ids)
        self._inner.remove(ids)

    def close(self) -> None:
        self._backend.listeners.remove(self)
        self._backend.count("close", ())
        self._inner.close()


class CountedBackend(MemoryBackend):
    """Remembers each call; those named in `failing` raise."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.calls: list[tuple[str, Collection[str]]] = []
        self.listeners: list[CountedListener] = []
        self.failing: set[str] = set()
        self.on_cancel: Callable[[Collection[str]], None]
        self.on_gap: Callable[[], None]

    def count(self, name: str, ids: Collection[str]) -> None:
        self.calls.append((name, frozenset(ids)))
        if name in self.failing:
            raise BackendUnavailable(f"no {name}")

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        self.count("write", [write.id for write in batch])
        return super().write(batch)

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        self.count("cancel_requested", ids)
        return super().cancel_requested(ids)

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        self.count("subscribe_cancels", ())
        self.on_cancel, self.on_gap = on_cancel, on_gap
        self.listeners.append(CountedListener(self, super().subscribe_cancels(on_cancel, on_gap)))
        return self.listeners[-1]

    def taken(self, *names: str) -> list[tuple[str, Collection[str]]]:
        """Return the calls of these names since the last look, all without one."""
        calls, self.calls = self.calls, []
        return [call for call in calls if not names or call[0] in names]


@pytest.fixture
def backend(clock: FakeClock) -> CountedBackend:
    return CountedBackend(clock)


@pytest.fixture
def run(kit: Kit, clock: FakeClock) -> Callable[[float], None]:
    """Give a function that lets the publisher work for some seconds, waking it when it wants to be."""

    def run(seconds: float) -> None:
        end = clock() + seconds
        while (wait := kit.publisher.step()) is not None and clock() + wait <= end:
            clock.advance(max(wait, 0.001))
        clock.advance(max(end - clock(), 0))
        kit.publisher.step()

    return run


Run = Callable[[float], None]


def test_a_quiet_job_costs_its_heartbeat_and_nothing_else(kit: Kit, backend: CountedBackend, run: Run) -> None:
    job = kit.observe("job")
    run(1)
    assert backend.taken() == [
        ("write", {"job"}), ("subscribe_cancels", frozenset()), ("add", {"job"}), ("cancel_requested", {"job"})
    ]  # fmt: skip
    run(HEARTBEAT - 1.1)
    assert backend.taken() == []
    run(20 * HEARTBEAT)
    names = [name for name, _ in backend.taken()]
    assert sorted(set(names)) == ["cancel_requested", "write"]
    assert names.count("write") in (19, 20, 21)
    assert names.count("cancel_requested") in (19, 20, 21), "as a belt, once for each heartbeat"
    del job


def test_a_request_reaches_a_quiet_job_in_the_next_round(kit: Kit, backend: CountedBackend, run: Run) -> None:
    jobs = [kit.observe(f"job-{number}") for number in range(5)]
    run(5)
    backend.taken()
    kit.cancel("job-3")
    assert not jobs[3].cancel_requested, "it is for the publisher's thread to tell the job"
    kit.publisher.step()
    assert [job.id for job in jobs if job.cancel_requested] == ["job-3"]
    assert backend.taken("cancel_requested") == [("cancel_requested", {"job-3"})]


def test_a_request_wakes_the_thread(make_kit: Callable[..., Kit]) -> None:
    backend = CountedBackend(monotonic)
    kit = make_kit(backend=backend, interval=60, heartbeat=60, lease=600)
    with kit.observe("job") as job:
        wait_until(lambda: ("cancel_requested", {"job"}) in backend.calls)
        kit.cancel("job")
        wait_until(lambda: job.cancel_requested)


def test_a_request_made_while_the_job_was_pending_is_known_soon(kit: Kit, run: Run) -> None:
    Integration(kit).enqueued("job")
    kit.publisher.step()
    assert kit.cancel("job")
    job = kit.observe("job")
    run(SOON_SECONDS + 0.01)
    assert job.cancel_requested


def test_jobs_that_are_over_soon_are_not_listened_for(kit: Kit, backend: CountedBackend, run: Run) -> None:
    for number in range(50):
        with kit.observe(f"job-{number}"):
            run(SOON_SECONDS / 2)
    run(60)
    assert {name for name, _ in backend.taken()} == {"write"}


def test_new_jobs_are_watched_and_asked_for_together_and_the_old_ones_not_again(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    first = [kit.observe(f"first-{number}") for number in range(3)]
    run(2)
    backend.taken()
    second = [kit.observe(f"second-{number}") for number in range(3)]
    run(1)
    ids = {job.id for job in second}
    assert backend.taken("add", "cancel_requested") == [("add", ids), ("cancel_requested", ids)]
    del first


def test_what_has_ended_is_watched_no_longer(kit: Kit, backend: CountedBackend, run: Run) -> None:
    ending, dropped, staying = (kit.observe(id) for id in ("ending", "dropped", "staying"))
    run(1)
    (listener,) = backend.listeners
    assert listener.ids == {"ending", "dropped", "staying"}
    ending.succeed()
    del dropped
    run(1)
    assert listener.ids == {"staying"}
    kit.cancel("staying")
    kit.publisher.step()
    assert staying.cancel_requested


def test_of_two_jobs_with_one_id_the_end_of_one_leaves_the_other_watched(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    older, newer = kit.observe("job"), kit.observe("job")
    run(1)
    older.succeed()
    run(1)
    assert backend.listeners[0].ids == {"job"}
    kit.cancel("job")
    kit.publisher.step()
    assert newer.cancel_requested


def test_listening_ends_a_while_after_the_last_job_and_begins_again_with_the_next(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    for id in ("first", "second"):
        with kit.observe(id):
            run(1)
        run(LINGER_SECONDS - 1)
        assert len(backend.listeners) == 1
    backend.taken()
    run(2)
    assert backend.listeners == []
    assert backend.taken() == [("close", frozenset())]
    assert kit.publisher.step() is None, "and then the thread sleeps"
    job = kit.observe("third")
    run(1)
    assert backend.listeners[0].ids == {"third"}
    del job


def test_a_closed_kit_listens_no_longer(backend: CountedBackend, make_kit: Callable[..., Kit]) -> None:
    kit = make_kit(backend=backend, interval=0.01)
    with kit.observe("job"):
        wait_until(lambda: bool(backend.listeners and backend.listeners[0].ids))
        kit.close()
        assert backend.listeners == []


def test_a_kit_without_a_thread_stops_listening_too(kit: Kit, backend: CountedBackend, run: Run) -> None:
    job = kit.observe("job")
    run(1)
    kit.close()
    assert backend.listeners == []
    job_of(job).detach()


def test_a_forked_child_forgets_the_listener_and_makes_its_own(kit: Kit, backend: CountedBackend, run: Run) -> None:
    parents = kit.observe("parents")
    run(1)
    (inherited,) = backend.listeners
    backend.taken()
    kit._resources.after_fork_in_child()
    child = kit.observe("child")
    run(1)
    assert backend.taken("add", "remove", "close") == [("add", {"child"})]
    assert inherited in backend.listeners, "it is the parent's, and never closed here"
    del parents, child


# When something may have been missed.


def test_all_are_asked_for_again_when_something_may_have_been_missed(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    jobs = [kit.observe(f"job-{number}") for number in range(3)]
    run(2)
    backend.taken()
    with backend._lock:
        backend._subscriptions._cancels.clear()  # as if the connection were cut
    kit.cancel("job-1")
    run(1)
    assert not jobs[1].cancel_requested
    backend.on_gap()
    kit.publisher.step()
    assert backend.taken("cancel_requested") == [("cancel_requested", {job.id for job in jobs})]
    assert [job.cancel_requested for job in jobs] == [False, True, False]


def test_a_request_that_was_missed_without_a_word_is_found_with_the_heartbeat(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    job = kit.observe("job")
    run(2)
    backend._subscriptions._cancels.clear()
    kit.cancel("job")
    run(HEARTBEAT)
    assert job.cancel_requested


def test_what_is_reported_of_another_run_or_another_job_stops_nothing(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    job = kit.observe("job")
    run(2)
    backend.taken()
    backend.on_cancel(["job", "nobody"])  # late: the request was to the run before
    run(1)
    assert backend.taken("cancel_requested") == [("cancel_requested", {"job"})]
    assert not job.cancel_requested


# When the backend cannot tell now.


@pytest.mark.parametrize("failing", ["subscribe_cancels", "add"])
def test_a_backend_that_cannot_report_is_asked_once_a_second_and_publishing_goes_on(
    kit: Kit, backend: CountedBackend, run: Run, failing: str
) -> None:
    backend.failing = {failing}
    job = kit.observe("job")
    run(SOON_SECONDS + 0.01)
    backend.taken()
    for number in range(1, 11):
        job.advance()
        run(ASK_SECONDS)
        assert backend.read(["job"])["job"].current == number
    assert len(backend.taken("cancel_requested")) in (9, 10, 11)
    kit.cancel("job")
    run(ASK_SECONDS)
    assert job.cancel_requested
    assert backend.listeners == [], "what could not be used is closed"


def test_listening_is_tried_again_and_what_was_asked_for_meanwhile_is_found(
    kit: Kit, backend: CountedBackend, run: Run
) -> None:
    backend.failing = {"add"}
    jobs = [kit.observe(f"job-{number}") for number in range(3)]
    run(5)
    kit.cancel("job-1")
    backend.failing = set()
    run(ASK_SECONDS)
    assert [job.cancel_requested for job in jobs] == [False, True, False]
    backend.taken()
    run(HEARTBEAT - 2)
    assert backend.taken("cancel_requested") == []
    kit.cancel("job-2")
    kit.publisher.step()
    assert jobs[2].cancel_requested


@pytest.mark.parametrize("failing", ["remove", "close"])
def test_a_listener_that_fails_when_it_is_let_go_harms_nothing(
    kit: Kit, backend: CountedBackend, run: Run, failing: str
) -> None:
    backend.failing = {failing}
    ending, staying = kit.observe("ending"), kit.observe("staying")
    run(1)
    ending.succeed()
    run(1)
    assert backend.read(["ending"])["ending"].done
    kit.cancel("staying")
    run(ASK_SECONDS)
    assert staying.cancel_requested


def test_requests_that_cannot_be_asked_for_are_asked_for_again(kit: Kit, backend: CountedBackend, run: Run) -> None:
    job = kit.observe("job")
    run(2)
    backend.failing = {"cancel_requested"}
    kit.cancel("job")
    run(3)
    assert not job.cancel_requested
    backend.failing = set()
    run(ASK_SECONDS)
    assert job.cancel_requested


def test_a_backend_that_is_down_is_left_alone(kit: Kit, backend: CountedBackend, run: Run) -> None:
    job, ended = kit.observe("job"), kit.observe("ended")
    run(2)
    backend.failing = {"write"}
    job.advance()
    ended.succeed()
    run(1)
    backend.taken()
    backend.on_gap()
    run(HEARTBEAT * 3)
    assert {name for name, _ in backend.taken()} == {"write"}
    kit.cancel("job")
    backend.failing = set()
    run(5)
    assert job.cancel_requested
    assert backend.listeners[0].ids == {"job"}


def test_a_backend_that_names_strangers_stops_nobody(
    kit: Kit, backend: CountedBackend, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strangers(ids: Collection[str]) -> Any:
        return {"nobody", "known"}

    monkeypatch.setattr(backend, "cancel_requested", strangers)
    job = kit.observe("known")
    run(1)
    assert job.cancel_requested
