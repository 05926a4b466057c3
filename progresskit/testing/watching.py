"""The records that viewers get from every backend, pushed or polled, through a kit."""

from __future__ import annotations

from contextlib import closing, contextmanager
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from progresskit.kit import Kit
from progresskit.progress import State, life_of, moment

from .helpers import PATIENCE, seen, write_and_read
from .writes import LIFE, external_update, start, update

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from progresskit.abc import Backend
    from progresskit.hub import Viewer
    from progresskit.progress import Progress

    from .doubles import FakeClock

INTERVAL = 0.02
"""Seconds between two reads of a backend that is polled; short, for a test waits for them."""


class WatchContract:
    """The promise of every backend to viewers: the present state first, then every change."""

    def test_who_watches_before_there_is_a_job_sees_it_from_its_first_record_to_its_end(self, backend: Backend) -> None:
        with viewing(backend, ["job"]) as viewer:
            assert viewer.get(3 * INTERVAL) == {}, "an id without a report is not shown"
            writes = [external_update("job"), start("job", current=1), update("job", 2, current=2)]
            for write in [*writes, update("job", 3, state=State.SUCCEEDED, current=3)]:
                stored = seen([write_and_read(backend, write)])
                found(viewer, lambda progress, stored=stored: seen([progress]) == stored)  # type: ignore[misc]

    def test_who_comes_during_a_job_sees_the_present_state_first_and_then_the_rest(self, backend: Backend) -> None:
        backend.write([start("job", current=1)])
        present = seen([write_and_read(backend, update("job", 2, current=2, description="is there"))])
        with viewing(backend, ["job"]) as viewer:
            assert seen(viewer.get(PATIENCE).values()) == present
            backend.write([update("job", 3, current=3)])
            assert found(viewer, lambda progress: progress.version.seq > 2).current == 3
            backend.write([update("job", 4, state=State.FAILED, current=4)])
            assert found(viewer, lambda progress: progress.done).current == 4

    def test_who_comes_after_the_end_sees_the_end(self, backend: Backend) -> None:
        backend.write([start("job")])
        end = seen([write_and_read(backend, update("job", 2, state=State.CANCELLED))])
        with opened(backend) as kit:
            assert seen(kit.watch("job")) == end

    def test_watching_ends_with_the_job(self, backend: Backend) -> None:
        records: list[Progress] = []
        with opened(backend) as kit:
            watching = Thread(target=lambda: records.extend(kit.watch("job", "other")))
            watching.start()
            backend.write([start("job"), start("other")])
            backend.write([update("job", 2, state=State.SUCCEEDED), update("other", 2)])
            backend.write([update("other", 3, state=State.FAILED)])
            watching.join(PATIENCE)
            assert not watching.is_alive()
        assert {progress.id: progress.state for progress in records} == {
            "job": State.SUCCEEDED,
            "other": State.FAILED,
        }

    def test_who_comes_later_is_shown_the_present_state_too(self, backend: Backend) -> None:
        backend.write([start("job", current=1)])
        with opened(backend) as kit:
            viewers = []
            for seq in range(2, 6):
                viewers.append(kit.hub.view(["job"]))
                for viewer in viewers:
                    found(viewer, lambda progress, seq=seq: progress.version.seq == seq - 1)  # type: ignore[misc]
                backend.write([update("job", seq)])
            for viewer in viewers:
                found(viewer, lambda progress: progress.version.seq == 5)

    def test_five_hundred_jobs_are_seen_by_one_viewer_to_their_ends(self, backend: Backend) -> None:
        ids = [f"job-{number}" for number in range(500)]
        backend.write([start(id) for id in ids[:250]])
        with viewing(backend, ids) as viewer:
            shown = gathered(viewer, lambda shown: len(shown) == 250)
            assert shown.keys() == set(ids[:250])
            backend.write([start(id) for id in ids[250:]])
            backend.write([update(id, 2, state=State.SUCCEEDED, current=2) for id in ids])
            shown = gathered(viewer, lambda shown: sum(progress.done for progress in shown.values()) == 500)
            assert {progress.current for progress in shown.values()} == {2}

    def test_a_slow_viewer_finds_the_newest_state_and_no_backlog(self, backend: Backend) -> None:
        with opened(backend) as kit, kit.hub.view(["job", "other"]) as slow:
            with kit.hub.view(["job", "other"]) as quick:
                backend.write([start("job"), start("other")])
                for seq in range(2, 102):
                    backend.write([update("job", seq, current=seq)])
                gathered(quick, lambda shown: shown.keys() == {"job", "other"} and shown["job"].current == 101)
            with kit.hub.view(["job"]) as late:  # a new viewer gets it after all earlier ones
                found(late, lambda progress: progress.current == 101)
            waiting = slow.get(0)
            assert {id: progress.current for id, progress in waiting.items()} == {"job": 101, "other": 0}
            assert slow.get(0) == {}

    def test_no_version_goes_back_and_what_is_last_arrives(self, backend: Backend) -> None:
        # The hub reads a pending job once: a missed push is not found later by a lease, as for a running job.
        backend.write([external_update("job")])

        def work() -> None:
            backend.write([start("job", token="first")])
            for seq in range(2, 40):
                backend.write([update("job", seq, token="first")])
            backend.write([start("job", token="second")])
            for seq in range(2, 40):
                backend.write([update("job", seq, token="second", run=2), start("other", token=f"token-{seq}")])
                backend.write([update("job", 99, token="first")])
            backend.write([update("job", 40, token="second", run=2, state=State.FAILED)])

        with viewing(backend, ["job"]) as viewer:
            found(viewer, lambda progress: progress.state is State.PENDING)
            working = Thread(target=work)
            working.start()
            end = found(viewer, lambda progress: progress.done)
            working.join(PATIENCE)
        assert str(end.version) == "2.1.40"

    def test_a_request_to_cancel_is_seen(self, backend: Backend) -> None:
        backend.write([external_update("job")])
        with viewing(backend, ["job"]) as viewer:
            found(viewer, lambda progress: not progress.cancel_requested)
            backend.request_cancel(["job"])
            assert found(viewer, lambda progress: progress.cancel_requested).cursor == f"{LIFE}-1.1.0c"
            backend.write([start("job")])
            assert found(viewer, lambda progress: progress.state is State.RUNNING).cursor == f"{LIFE}-1.1.1c"

    def test_a_stall_is_seen_and_its_end(self, backend: Backend, clock: FakeClock) -> None:
        backend.write([start("job", lease=1)])
        with viewing(backend, ["job"]) as viewer:
            found(viewer, lambda progress: not progress.stalled)
            clock.advance(1)
            assert found(viewer, lambda progress: progress.stalled).cursor == f"{LIFE}-1.1.1s"
            backend.write([update("job", 1, lease=600)])
            assert found(viewer, lambda progress: not progress.stalled).cursor == f"{LIFE}-1.1.1"

    def test_a_job_that_begins_again_is_seen_by_who_stayed(self, backend: Backend) -> None:
        backend.write([start("job", state=State.SUCCEEDED)])
        with viewing(backend, ["job"]) as viewer:
            found(viewer, lambda progress: progress.done)
            backend.write([start("job", token="again")])
            assert str(found(viewer, lambda progress: not progress.done).version) == "2.1.1"

    def test_a_job_that_was_forgotten_and_begins_again_is_seen_by_who_stayed(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        backend.write([start("job", token="first", ttl=60)])
        backend.write([start("job", token="second", ttl=60)])
        backend.write([update("job", 9, token="second", run=2, ttl=60, state=State.SUCCEEDED)])
        with viewing(backend, ["job"]) as viewer:
            assert found(viewer, lambda progress: progress.done).cursor == f"{LIFE}-2.1.9"
            clock.advance(60)
            backend.write([start("job", token="another", created_at=moment(9))])
            again = found(viewer, lambda progress: not progress.done)
            assert again.cursor == f"{life_of(9_000)}-1.1.1"


def opened(backend: Backend) -> closing[Kit]:
    """Make a kit that looks through the backend, and does so often where it has to ask."""
    return closing(Kit(backend=backend, interval=INTERVAL))


@contextmanager
def viewing(backend: Backend, ids: Collection[str]) -> Iterator[Viewer]:
    """Watch jobs through a kit of their own."""
    with opened(backend) as kit, kit.hub.view(ids) as viewer:
        yield viewer


def found(viewer: Viewer, wanted: Callable[[Progress], bool]) -> Progress:
    """Return the first record that is wanted; those of a job may only become newer until then."""
    before: dict[str, Progress] = {}
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        for id, progress in viewer.get(PATIENCE).items():
            last = before.get(id, progress)
            newer = last.life != progress.life or last.version <= progress.version
            assert newer, f"{last.version} was followed by {progress.version}"
            before[id] = progress
            if wanted(progress):
                return progress
    raise AssertionError(f"it was never shown; the last are {[last.to_json() for last in before.values()][:3]}")


def gathered(viewer: Viewer, enough: Callable[[dict[str, Progress]], bool]) -> dict[str, Progress]:
    """Return the newest record of each job once that is enough."""
    shown: dict[str, Progress] = {}
    deadline = monotonic() + PATIENCE
    while not enough(shown):
        assert monotonic() < deadline, f"only {len(shown)} jobs were shown, or not far enough"
        shown |= viewer.get(PATIENCE)
    return shown
