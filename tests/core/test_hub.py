"""What viewers see: the present state, then every change, the newest only; one upstream watch for all of them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest

from progresskit import BackendUnavailable, Cancelled, Kit, Progress, State, Subscription, SupportsPush
from progresskit.backoff import FIRST_SECONDS, LONGEST_SECONDS
from progresskit.hub import DONE_SECONDS, Viewer
from progresskit.progress import life_of, moment
from progresskit.testing import LEASE, LIFE, FakeClock, RecordingObserver, external_update, start, update
from tests.services.waiting import PATIENCE

from .doubles import FlakyBackend

INTERVAL = 0.1


class PushingBackend(FlakyBackend, SupportsPush):
    """The same, which tells of changes by itself as the memory backend does; the line to it can be cut."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.lines: list[tuple[Subscription, Callable[[], None]]] = []
        self.cut = False

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        self._answer()
        listener = self.store.subscribe(lambda records: None if self.cut else on_update(records), on_gap)
        self.lines.append((listener, on_gap))
        return listener

    def mend(self) -> None:
        """Work again, and say that something may have been missed."""
        self.cut = False
        for _, lost in self.lines:
            lost()


@pytest.fixture(params=[FlakyBackend, PushingBackend], ids=["polled", "pushed"])
def backend(request: pytest.FixtureRequest, clock: FakeClock) -> FlakyBackend:
    made: FlakyBackend = request.param(clock)
    return made


@pytest.fixture
def look(kit: Kit, clock: FakeClock) -> Callable[..., None]:
    """Give a function that lets the hub do all that it wants to do within some time."""

    def look(seconds: float = INTERVAL) -> None:
        end = clock() + seconds
        while (wait := kit.hub.step()) is not None and clock() + wait <= end + 1e-6:
            clock.advance(max(wait, 1e-6))
        clock.advance(max(end - clock(), 0))

    return look


Look = Callable[..., None]


def cursors(viewer: Viewer) -> dict[str, str]:
    """Return the cursors of the records that wait, without the life that all jobs here have."""
    return {id: progress.cursor.removeprefix(f"{LIFE}-") for id, progress in viewer.get(0).items()}


# What is seen.


def test_the_present_state_comes_first_and_then_every_change(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job", current=1)])
    viewer = kit.hub.view(["job"])
    look()
    assert cursors(viewer) == {"job": "1.1.1"}
    for seq in (2, 3, 4):
        look()
        assert viewer.get(0) == {}
        backend.store.write([update("job", seq, current=seq)])
        look()
        assert {id: progress.current for id, progress in viewer.get(0).items()} == {"job": seq}


def test_a_job_may_be_watched_before_it_exists(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    viewer = kit.hub.view(["job"])
    look(5)
    assert viewer.get(0) == {}
    backend.store.write([external_update("job")])
    look()
    assert cursors(viewer) == {"job": "1.1.0"}
    backend.store.write([start("job")])
    look()
    assert cursors(viewer) == {"job": "1.1.1"}


def test_a_slow_viewer_finds_the_newest_state_and_no_backlog(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    slow, quick = kit.hub.view(["a", "b"]), kit.hub.view(["a"])
    backend.store.write([start("a"), start("b")])
    seen = []
    for seq in range(2, 200):
        backend.store.write([update("a", seq, current=seq)])
        look()
        seen += [progress.current for progress in quick.get(0).values()]
    assert {id: progress.current for id, progress in slow.get(0).items()} == {"a": 199, "b": 0}
    assert slow.get(0) == {}
    assert seen == sorted(seen)
    assert len(seen) > 190


def test_a_request_to_cancel_is_a_change(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    look()
    cursors(viewer)
    kit.cancel("job")
    look()
    assert cursors(viewer) == {"job": "1.1.1c"}


def test_a_lost_worker_shows_within_a_second_after_its_lease(
    kit: Kit, backend: FlakyBackend, look: Look, clock: FakeClock
) -> None:
    backend.store.write([start("job")])
    heard = clock()
    viewer = kit.hub.view(["job"])
    look()
    assert cursors(viewer) == {"job": "1.1.1"}
    while not (shown := viewer.get(0)):
        look(0.05)
        assert clock() < heard + LEASE + 5
    assert shown["job"].stalled
    assert heard + LEASE <= clock() <= heard + LEASE + 1


def test_a_worker_that_is_heard_of_again_is_not_stalled_any_more(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    look(LEASE + 2)
    assert cursors(viewer) == {"job": "1.1.1s"}
    backend.store.write([update("job", 1)])
    look(1)
    assert cursors(viewer) == {"job": "1.1.1"}
    look(LEASE + 2)
    assert cursors(viewer) == {"job": "1.1.1s"}


def test_heartbeats_are_no_news(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    look()
    cursors(viewer)
    for _ in range(20):
        backend.store.write([update("job", 1)])
        look(LEASE / 3)
        assert viewer.get(0) == {}


def test_nothing_older_than_what_was_seen_is_shown(
    kit: Kit, backend: FlakyBackend, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A replica that lags, or a push that comes after the read.
    backend.store.write([start("job")])
    old = backend.store.read(["job"])
    backend.store.write([update("job", 5)])
    viewer = kit.hub.view(["job"])
    look()
    assert cursors(viewer) == {"job": "1.1.5"}
    monkeypatch.setattr(backend, "read", lambda ids: old)
    another = kit.hub.view(["job"])
    look(2)
    assert viewer.get(0) == {}
    assert cursors(another) == {"job": "1.1.5"}


def test_a_reused_id_is_seen_in_its_new_run_by_a_viewer_that_comes(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job", state=State.FAILED)])
    first = kit.hub.view(["job"])
    look()
    assert cursors(first) == {"job": "1.1.1"}
    backend.store.write([start("job", token="again")])
    second = kit.hub.view(["job"])
    look()
    assert cursors(second) == {"job": "2.1.1"}


def test_a_reused_id_is_seen_within_a_second_by_a_viewer_that_stayed(
    kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    for run in range(1, 5):
        look()
        backend.store.write([update("job", 2, token=f"token-{run}" if run > 1 else "worker", state=State.FAILED)])
        look(30)
        assert cursors(viewer) == {"job": f"{run}.1.2"}
        backend.store.write([start("job", token=f"token-{run + 1}")])
        look(DONE_SECONDS)
        assert cursors(viewer) == {"job": f"{run + 1}.1.1"}


def test_what_expired_and_begins_again_is_seen(clock: FakeClock) -> None:
    backend = FlakyBackend(clock)
    kit = Kit(backend=backend, clock=clock, threaded=False)
    backend.store.write([start("job", ttl=60)])
    backend.store.write([update("job", 9, ttl=60)])
    viewer = kit.hub.view(["job"])
    for _ in range(700):
        kit.hub.step()
        clock.advance(INTERVAL)
    assert cursors(viewer) == {"job": "1.1.9s"}
    backend.store.write([start("job", token="again")])
    kit.hub.step()
    assert cursors(viewer) == {"job": "1.1.1"}


def test_another_life_of_an_id_is_seen_at_once_whatever_its_version(
    kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("job", lease=LEASE), start("other", lease=LEASE)])
    backend.store.write([update("job", 500, lease=LEASE), update("other", 1, state=State.SUCCEEDED, lease=LEASE)])
    viewer = kit.hub.view(["job", "other"])
    look()
    viewer.get(0)
    backend.store._entries.clear()
    for id in ("job", "other"):
        backend.store.write([start(id, token="another", lease=LEASE, created_at=moment(9))])
    look(DONE_SECONDS)
    assert {id: job.cursor for id, job in viewer.get(0).items()} == {
        "job": f"{life_of(9_000)}-1.1.1",
        "other": f"{life_of(9_000)}-1.1.1",
    }


def test_a_push_of_a_life_that_is_over_is_not_shown(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job", lease=LEASE)])
    backend.store.write([update("job", 9, lease=LEASE)])
    old = backend.store.read(["job"])["job"]
    backend.store._entries.clear()
    backend.store.write([start("job", token="another", lease=LEASE, created_at=moment(9))])
    viewer = kit.hub.view(["job"])
    look()
    assert viewer.get(0)["job"].life == life_of(9_000)
    kit.hub._pushed([old])
    look(1)
    assert viewer.get(0) == {}
    backend.store.write([update("job", 2, token="another", lease=LEASE, created_at=moment(9))])
    look(1)
    assert viewer.get(0)["job"].cursor == f"{life_of(9_000)}-1.1.2"


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_what_was_lost_with_its_worker_and_begins_again_is_seen_after_the_lease(
    kit: Kit, backend: FlakyBackend, look: Look, ended: bool
) -> None:
    backend.store.write([start("job", lease=LEASE)])
    backend.store.write([update("job", 500, lease=LEASE)])
    viewer = kit.hub.view(["job"])
    look()
    assert cursors(viewer) == {"job": "1.1.500"}
    backend.store._entries.clear()
    state = State.SUCCEEDED if ended else State.RUNNING
    backend.store.write([start("job", token="another", lease=LEASE, started_at=moment(9))])
    backend.store.write([update("job", 2, token="another", state=state, lease=LEASE, started_at=moment(9))])
    look(LEASE - 1)
    assert viewer.get(0) == {}
    backend.store.write([update("job", 2, token="another", state=state, lease=LEASE, started_at=moment(9))])
    look(2)
    assert cursors(viewer) == {"job": "1.1.2"}


def test_what_a_crash_took_from_the_backend_is_not_taken_from_viewers(
    kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("job", lease=LEASE)])
    backend.store.write([update("job", 117, lease=LEASE, current=117)])
    viewer = kit.hub.view(["job"])
    look()
    assert cursors(viewer) == {"job": "1.1.117"}
    backend.store._entries.clear()
    backend.store.write([update("job", 116, lease=LEASE, current=116)])
    look(LEASE + 2)
    seen = viewer.get(0)["job"]
    assert (seen.cursor, seen.current) == (f"{LIFE}-1.1.117s", 117), "its worker has died, too: that has to be seen"
    look(3 * LEASE)
    assert viewer.get(0) == {}
    backend.store.request_cancel(["job"])
    kit.hub.view(["job"])  # as another comes, it is read
    look(2)
    assert cursors(viewer) == {"job": "1.1.117sc"}
    backend.store.write([update("job", 118, lease=LEASE)])
    look(2)
    assert cursors(viewer) == {"job": "1.1.118c"}


def test_what_the_backend_forgot_is_not_shown_where_the_worker_brings_it_back(
    kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("job", lease=LEASE)])
    backend.store.write([update("job", 500, lease=LEASE)])
    viewer = kit.hub.view(["job"])
    look()
    viewer.get(0)
    for seq in (501, 502, 503):
        backend.store._entries.clear()
        backend.store.write([update("job", 400, lease=LEASE)])
        look(LEASE * 0.6)
        assert viewer.get(0) == {}
        backend.store.write([update("job", seq, lease=LEASE)])
        look(1)
        assert cursors(viewer) == {"job": f"1.1.{seq}"}


def test_each_viewer_sees_its_own_jobs_only(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start(id) for id in ("a", "b", "c")])
    viewers = {ids: kit.hub.view(ids) for ids in ("a", "bc", "abc")}
    look()
    for ids, viewer in viewers.items():
        assert cursors(viewer).keys() == set(ids)


# What it costs.


def test_any_number_of_viewers_cost_one_read(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("a"), start("b")])
    viewers = [kit.hub.view(["a", "b"]) for _ in range(50)]
    look(2)
    reads = len(backend.reads)
    assert reads <= 21
    assert all(cursors(viewer).keys() == {"a", "b"} for viewer in viewers)
    assert set(backend.reads) == {frozenset(("a", "b"))}


def test_a_watched_job_is_read_at_most_once_in_an_interval(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    look(10)
    assert len(backend.reads) <= 10 / INTERVAL + 2
    viewer.close()


def test_when_all_are_gone_nothing_is_asked_any_more(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    backend.store.write([start("job")])
    done, gone = kit.hub.view(["job"]), kit.hub.view(["unknown"])
    look(1)
    gone.close()
    backend.store.write([update("job", 2, state=State.SUCCEEDED)])
    look(1)
    done.close()
    look(1)
    reads = len(backend.reads)
    look(100)
    assert len(backend.reads) == reads
    assert kit.hub.step() is None


def test_when_all_are_done_nothing_is_asked_any_more_but_once_a_second_where_nothing_is_pushed(
    kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    look(1)
    backend.store.write([update("job", 2, state=State.SUCCEEDED)])
    look(2)
    reads = len(backend.reads)
    look(100)
    if isinstance(backend, SupportsPush):
        assert len(backend.reads) == reads
        assert kit.hub.step() is None
    else:
        assert 100 / DONE_SECONDS - 1 <= len(backend.reads) - reads <= 100 / DONE_SECONDS + 1
    viewer.close()


def test_jobs_that_are_done_are_read_less_often_than_those_that_are_not(
    clock: FakeClock, kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("busy"), *(start(f"done-{number}", state=State.FAILED) for number in range(5))])
    viewer = kit.hub.view(["busy", *(f"done-{number}" for number in range(5))])
    look(1)
    backend.reads.clear()
    look(20)
    assert sum(len(ids) for ids in backend.reads) <= (20 / INTERVAL + 2) + 5 * (20 / DONE_SECONDS + 2)
    viewer.close()


def test_a_viewer_that_is_dropped_has_left(kit: Kit, backend: FlakyBackend, look: Look) -> None:
    import gc

    viewer = kit.hub.view(["job"])
    look(1)
    del viewer
    gc.collect()
    look(1)
    reads = len(backend.reads)
    look(10)
    assert len(backend.reads) == reads


# While the backend is away.


def test_watching_goes_on_by_itself_when_the_backend_is_back(
    kit: Kit, backend: FlakyBackend, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    backend.store.write([start("job")])
    viewer = kit.hub.view(["job"])
    look(1)
    assert cursors(viewer) == {"job": "1.1.1"}
    backend.down = True
    another = kit.hub.view(["job"])  # its first read fails
    look(20)
    backend.store.write([update("job", 2)])
    backend.down = False
    look(LONGEST_SECONDS)
    assert cursors(viewer) == {"job": "1.1.2"}
    assert cursors(another) == {"job": "1.1.2"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_backend_that_is_down_is_asked_after_longer_and_longer_pauses_of_which_half_is_random(
    kit: Kit, backend: FlakyBackend, look: Look, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = list[float]()

    def refuse() -> None:
        attempts.append(clock())
        raise BackendUnavailable("connection refused")

    monkeypatch.setattr(backend, "_answer", refuse)
    viewer = kit.hub.view(["job"])
    look(60)
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert len(pauses) >= 30
    for number, pause in enumerate(pauses):
        longest = min(FIRST_SECONDS * 2**number, LONGEST_SECONDS)
        assert longest / 2 - 1e-6 <= pause <= longest + 1e-5
    assert len({round(pause, 3) for pause in pauses[-10:]}) > 3, (
        "processes that lost one server must not return in step"
    )
    viewer.close()


@pytest.mark.parametrize("error", [RuntimeError("?"), KeyError("?"), RecursionError()])
def test_whatever_the_backend_raises_watching_goes_on(
    kit: Kit, backend: FlakyBackend, look: Look, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(ids: object) -> dict[str, Progress]:
        raise error

    backend.store.write([start("job")])
    with monkeypatch.context() as broken:
        broken.setattr(backend, "read", fail)
        viewer = kit.hub.view(["job"])
        look(5)
    look(LONGEST_SECONDS)
    assert cursors(viewer) == {"job": "1.1.1"}


def test_what_a_cut_line_swallowed_is_read_when_it_is_mended(clock: FakeClock) -> None:
    backend = PushingBackend(clock)
    kit = Kit(backend=backend, clock=clock, threaded=False)
    backend.store.write([external_update("job")])
    viewer = kit.hub.view(["job"])
    kit.hub.step()
    assert cursors(viewer) == {"job": "1.1.0"}
    backend.cut = True
    backend.store.write([start("job"), start("other")])
    kit.hub.step()
    assert viewer.get(0) == {}
    backend.mend()
    kit.hub.step()
    assert cursors(viewer) == {"job": "1.1.1"}


def test_there_is_one_line_for_all_viewers_and_none_when_they_have_left(clock: FakeClock) -> None:
    backend = PushingBackend(clock)
    kit = Kit(backend=backend, clock=clock, threaded=False)
    viewers = [kit.hub.view([f"job-{number}"]) for number in range(5)]
    kit.hub.step()
    assert len(backend.lines) == 1
    for viewer in viewers:
        viewer.close()
    kit.hub.step()
    backend.store.write([start("job-1")])
    assert backend.store._subscriptions._updates == []
    again = kit.hub.view(["job-1"])
    kit.hub.step()
    assert cursors(again) == {"job-1": "1.1.1"}
    assert len(backend.lines) == 2


def test_a_push_between_listening_and_reading_is_not_shown_twice(clock: FakeClock) -> None:
    backend = PushingBackend(clock)
    kit = Kit(backend=backend, clock=clock, threaded=False)
    viewer = kit.hub.view(["job"])
    read = backend.read

    def read_after_a_push(ids: Any) -> dict[str, Progress]:
        backend.store.write([start("job")])
        return read(ids)

    backend.read = read_after_a_push  # type: ignore[method-assign]
    kit.hub.step()
    assert cursors(viewer) == {"job": "1.1.1"}
    backend.read = read  # type: ignore[method-assign]
    kit.hub.step()
    assert viewer.get(0) == {}


def test_a_push_from_before_a_request_to_cancel_does_not_take_it_back(clock: FakeClock) -> None:
    """A backend that reads in a thread of its own what it tells may tell it after the hub has read something newer."""
    backend = PushingBackend(clock)
    kit = Kit(backend=backend, clock=clock, threaded=False)
    backend.store.write([start("job")])
    (before,) = backend.store.read(["job"]).values()
    viewer = kit.hub.view(["job"])
    backend.cut = True
    kit.cancel("job")
    kit.hub.step()
    assert cursors(viewer) == {"job": "1.1.1c"}
    kit.hub._pushed([before])
    kit.hub.step()
    assert viewer.get(0) == {}


# Attached observers.


def test_a_remote_subject_reports_the_present_state_and_each_change(
    kit: Kit, backend: FlakyBackend, look: Look
) -> None:
    backend.store.write([start("job", current=1)])
    observer, received = RecordingObserver(), list[float]()
    detach = kit.subject("job").attach(observer)
    kit.subject("job").attach(lambda progress: received.append(progress.current))
    look()
    backend.store.write([update("job", 2, current=2)])
    look()
    detach()
    look()
    backend.store.write([update("job", 3, current=3)])
    look()
    assert [progress.current for progress in observer.records] == [1, 2]
    assert received == [1, 2, 3]


def test_an_observer_that_raises_harms_nobody(
    kit: Kit, backend: FlakyBackend, look: Look, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(progress: Progress) -> None:
        raise RuntimeError("broken observer")

    caplog.set_level(logging.ERROR)
    kit.subject("job").attach(broken)
    observer = RecordingObserver()
    kit.subject("job").attach(observer)
    backend.store.write([start("job")])
    look()
    backend.store.write([update("job", 2)])
    look()
    assert len(observer.records) == 2
    assert "broken observer" in caplog.text


# With its thread, as users see it.


@pytest.fixture(params=[FlakyBackend, PushingBackend], ids=["polled", "pushed"])
def live(request: pytest.FixtureRequest, make_kit: Callable[..., Kit]) -> Kit:
    """Make a kit with threads, whose backend judges by the real clock."""
    from time import monotonic

    kit: Kit = make_kit(backend=request.param(monotonic), interval=0.01)
    return kit


def test_watch_begins_with_the_present_state_and_ends_with_the_job(live: Kit) -> None:
    job = live.observe("job", total=3)
    job.advance()
    live.flush(60)
    records = []
    for progress in live.watch("job"):
        records.append(progress)
        if len(records) == 1:
            job.succeed()
    assert (records[0].state, records[0].current) == (State.RUNNING, 1)
    assert records[-1].state is State.SUCCEEDED


def test_watch_waits_for_a_job_that_does_not_exist_yet_and_shows_it_to_its_end(live: Kit) -> None:
    records: list[Progress] = []
    viewer = threading.Thread(target=lambda: records.extend(live.watch("job")))
    viewer.start()
    with live.observe("job", total=50) as job:
        for _ in range(50):
            job.advance()
            live.flush(60)
    viewer.join(60)
    assert not viewer.is_alive()
    counts = [progress.current for progress in records]
    assert counts == sorted(counts)
    assert (records[-1].state, counts[-1]) == (State.SUCCEEDED, 50)


def test_watch_of_several_ends_when_all_are_done(live: Kit) -> None:
    for id in ("a", "b", "c"):
        with live.observe(id):
            pass
    assert {progress.id: progress.done for progress in live.watch("a", "b", "c")} == dict.fromkeys("abc", True)
    assert list(live.watch()) == []


def test_a_viewer_that_leaves_in_the_middle_is_forgotten(live: Kit) -> None:
    with live.observe("job"):
        live.flush(60)
        for _ in live.watch("job"):
            break
        observer = RecordingObserver()
        live.subject("job").attach(observer)
        observer.wait_for(lambda progress: True)
        assert len(live.hub._watched["job"].mailboxes) == 1


def test_a_stall_is_seen_by_every_viewer(live: Kit) -> None:
    live.backend.write([start("job", lease=0.2)])
    for progress in live.watch("job"):
        if progress.stalled:
            break
        assert progress.version.seq == 1


async def test_awatch_sees_what_watch_does(live: Kit) -> None:
    async def view() -> list[Progress]:
        return [progress async for progress in live.awatch("job")]

    viewers = [asyncio.create_task(view()) for _ in range(20)]
    async with live.observe("job", total=5) as job:
        for _ in range(5):
            await asyncio.sleep(0)
            job.advance()
            await asyncio.to_thread(live.flush, 60)
    for records in await asyncio.gather(*viewers):
        counts = [progress.current for progress in records]
        assert counts == sorted(counts)
        assert (records[-1].state, counts[-1]) == (State.SUCCEEDED, 5)


async def test_a_task_that_watches_can_be_cancelled(live: Kit) -> None:
    async def view() -> None:
        async for _ in live.awatch("never"):
            pass

    task = asyncio.create_task(view())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_async_twins_answer_as_the_others_do(live: Kit) -> None:
    with live.observe("job"):
        live.flush(60)
        progress = await live.aget("job")
        assert progress == live.get("job") is not None
        assert await live.aget("unknown") is None
        assert await live.aget_many(["job", "unknown"]) == live.get_many(["job", "unknown"])
        assert await live.acancel("job") is True
        assert await live.acancel("unknown") is False


def test_a_request_to_cancel_stops_a_busy_loop_in_another_thread(live: Kit) -> None:
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            with live.observe("job", cancellable=True) as job:
                while True:
                    job.advance()
        except BaseException as error:  # what is looked for is none of Exception
            outcome.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    for progress in live.watch("job"):
        if progress.current and not progress.cancel_requested:
            live.cancel("job")
    worker.join(60)
    assert [type(error) for error in outcome] == [Cancelled]
    last = live.get("job")
    assert last is not None
    assert last.state is State.CANCELLED


def test_closing_the_kit_ends_the_thread(make_kit: Callable[..., Kit]) -> None:
    before = set(threading.enumerate())

    def running() -> int:
        return sum(t.name == "progresskit-hub" for t in threading.enumerate() if t not in before)

    kit = make_kit(url="memory://")
    with kit.observe("job"):
        pass
    assert [progress.done for progress in kit.watch("job")] == [True]
    assert running() == 1
    kit.close()
    assert running() == 0


def test_a_kit_may_be_closed_while_somebody_begins_to_watch(
    make_kit: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Held(threading.Thread):
        """Is about to start until the test says so."""

        about, go = threading.Event(), threading.Event()

        def start(self) -> None:
            self.about.set()
            assert self.go.wait(60)
            super().start()

    kit, seen = make_kit(url="memory://"), list[Progress]()
    viewer = threading.Thread(target=lambda: seen.extend(kit.watch("job")))
    monkeypatch.setattr("progresskit.background.Thread", Held)
    viewer.start()
    assert Held.about.wait(60)
    try:
        kit.close()
    finally:
        Held.go.set()
        viewer.join(60)
    assert not viewer.is_alive()
    assert seen == []


def test_a_viewer_sees_jobs_from_when_they_are_added_until_they_are_dropped(
    kit: Kit, backend: FlakyBackend, look: Callable[..., None]
) -> None:
    viewer, other = kit.hub.view(["a"]), kit.hub.view(["b"])
    backend.store.write([start("a"), start("b", current=1)])
    look()
    assert viewer.get(0).keys() == {"a"}
    wanted = ["b"]
    viewer.add(wanted)
    wanted.clear()  # what the caller does with the list afterwards is its own affair
    look()
    assert viewer.get(0)["b"].current == 1, "as it is, though it has not changed"
    viewer.drop(["a"])
    backend.store.write([update("a", 2), update("b", 2)])
    look()
    assert viewer.get(0).keys() == {"b"}
    viewer.drop(["b"])
    backend.store.write([update("b", 3, current=3)])
    look()
    assert viewer.get(0) == {}
    assert other.get(0)["b"].current == 3


def test_a_signal_that_ends_a_wait_at_any_moment_leaves_the_viewer_whole() -> None:
    """Ctrl-C is the usual way to end `watch`; what the handler raises arrives, and the next wait is as the first."""
    script = """
import signal
from progresskit import Kit

class Interrupt(Exception):
    pass

def interrupt(*_):
    global is_waiting
    if is_waiting:  # else the signal is sent again
        is_waiting = False
        raise Interrupt

signal.signal(signal.SIGALRM, interrupt)
kit, is_waiting, interrupted = Kit("memory://"), False, 0
with kit.hub.view(["job"]) as viewer:
    for number in range(5_000):
        signal.setitimer(signal.ITIMER_REAL, (5 + number % 80) * 1e-6, 0.003)
        try:
            is_waiting = True
            viewer.get(60)
        except Interrupt:
            interrupted += 1
    kit.observe("job").succeed()
    assert viewer.get(60)["job"].done
kit.close()
print(interrupted)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr) == ("5000\n", "")
