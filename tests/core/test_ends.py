"""Ends from outside: a cancel of a job that is stalled, `end` and `forget`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from progresskit import BackendError, BackendUnavailable, InvalidId, InvalidValue, Kit, Progress, State
from progresskit.integrations import Integration
from progresskit.observer import job_of
from progresskit.testing import FakeClock, external_update, start, update

from .doubles import FlakyBackend, wait_for_removals

Step = Callable[..., float | None]
Stored = Callable[[str], Progress]
MakeKit = Callable[..., Kit]


def test_a_cancel_of_a_stalled_job_ends_it_at_once(
    kit: Kit, step: Step, stored: Stored, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.store.write([start("job", lease=30, current=3)])
    clock.advance(30)
    assert kit.cancel("job")
    step()
    progress = stored("job")
    assert (progress.state, progress.current, progress.cancel_requested) == (State.CANCELLED, 3, True)
    assert not progress.stopped_early
    assert not kit.cancel("job")


def test_a_cancel_leaves_the_end_of_a_job_that_is_heard_of_to_its_worker(
    kit: Kit, step: Step, stored: Stored, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.store.write(
        [start("job", lease=30), external_update("waiting", lease=30), start("retry", state=State.RETRYING)]
    )
    clock.advance(29)
    backend.store.write([update("job", 1, lease=30)])
    clock.advance(29)
    for id in ("job", "waiting", "retry"):
        assert kit.cancel(id)
    step()
    assert [stored(id).state for id in ("job", "waiting", "retry")] == [State.RUNNING, State.PENDING, State.RETRYING]


def test_a_worker_that_returns_after_its_job_was_cancelled_changes_nothing(
    kit: Kit, step: Step, stored: Stored, backend: FlakyBackend, clock: FakeClock
) -> None:
    backend.store.write([start("job", lease=30)])
    clock.advance(30)
    kit.cancel("job")
    step()
    backend.store.write([update("job", 2, current=9)])
    backend.store.write([update("job", 3, state=State.SUCCEEDED)])
    assert (stored("job").state, stored("job").current) == (State.CANCELLED, 0)
    assert backend.store.cancel_requested(["job"]) == {"job"}, "it learns that it is to stop"
    backend.store.write([start("job", token="next")])
    assert (stored("job").state, stored("job").cancel_requested) == (State.RUNNING, False)


def test_what_takes_jobs_out_of_their_queue_is_called_by_an_end_too(kit: Kit, backend: FlakyBackend) -> None:
    asked: list[list[str]] = []
    Integration(kit, remove=asked.append)
    backend.store.write([external_update("waiting"), start("done", state=State.SUCCEEDED)])
    assert (kit.end("waiting"), kit.end("done"), kit.end("unknown")) == (True, False, False)
    wait_for_removals()
    assert asked == [["waiting"]]


@pytest.mark.parametrize("failed", [None, "The disk is full"])
def test_an_end_is_stored_when_it_returns(make_kit: MakeKit, backend: FlakyBackend, failed: str | None) -> None:
    kit = make_kit(backend=backend)
    backend.store.write([start("job", current=3, total=10)])
    assert kit.end("job", failed)
    progress = backend.store.read(["job"])["job"]
    assert progress.state is (State.FAILED if failed else State.CANCELLED)
    assert (progress.current, progress.percent) == (3, 30)
    assert progress.finished_at is not None
    assert not kit.end("job")
    shown = progress.redacted().to_dict()["error"]
    assert shown == (failed and {"type": "Error", "message": failed})


def test_an_end_from_asyncio(make_kit: MakeKit, backend: FlakyBackend) -> None:
    kit = make_kit(backend=backend)
    backend.store.write([start("job"), start("other")])

    async def ends() -> list[bool]:
        return [await kit.aend("job"), await kit.aend("other", failed="no"), await kit.aend("job")]

    assert asyncio.run(ends()) == [True, True, False]
    assert [backend.store.read([id])[id].state for id in ("job", "other")] == [State.CANCELLED, State.FAILED]


def test_the_end_of_an_earlier_run_does_not_end_the_next(
    kit: Kit, step: Step, stored: Stored, backend: FlakyBackend
) -> None:
    backend.store.write([start("job")])
    assert kit.end("job")
    backend.store.write([update("job", 2, state=State.SUCCEEDED)])
    step()
    assert stored("job").state is State.SUCCEEDED


def test_an_end_that_cannot_be_stored_now_says_so_and_is_sent_again(make_kit: MakeKit, backend: FlakyBackend) -> None:
    kit = make_kit(backend=backend, flush_seconds=0.2)
    backend.store.write([start("job")])
    backend.broken = BackendUnavailable("read only")
    with pytest.raises(BackendUnavailable, match="job is not stored yet"):
        kit.end("job")
    backend.broken = None
    kit.flush(30)
    assert backend.store.read(["job"])["job"].state is State.CANCELLED


def test_an_end_that_the_backend_refuses_says_why(make_kit: MakeKit, backend: FlakyBackend) -> None:
    kit = make_kit(backend=backend)
    backend.store.write([start("job")])
    backend.refused = {"job"}
    with pytest.raises(BackendError, match="refuses it"):
        kit.end("job")


def test_bad_ids_and_texts_are_refused(kit: Kit) -> None:
    with pytest.raises(InvalidId):
        kit.end("no id")
    with pytest.raises(InvalidValue, match="failed"):
        kit.end("job", failed=5)  # type: ignore[arg-type]


def test_jobs_that_are_done_or_stalled_are_forgotten(kit: Kit, backend: FlakyBackend, clock: FakeClock) -> None:
    backend.store.write([start("done", state=State.FAILED), start("stalled"), start("alive", lease=600)])
    clock.advance(30)
    assert [kit.forget(id) for id in ("done", "stalled", "alive", "unknown")] == [True, True, False, False]
    assert kit.get_many(["done", "stalled", "alive"]).keys() == {"alive"}
    with pytest.raises(InvalidId):
        kit.forget("no id")


def test_forgetting_from_asyncio(make_kit: MakeKit, backend: FlakyBackend) -> None:
    kit = make_kit(backend=backend)
    backend.store.write([start("job", state=State.FAILED)])

    async def forgets() -> list[bool]:
        return [await kit.aforget("job"), await kit.aforget("job")]

    assert asyncio.run(forgets()) == [True, False]


def test_the_process_that_ended_a_job_does_not_restore_it_once_it_was_forgotten(
    kit: Kit, step: Step, backend: FlakyBackend
) -> None:
    for id in ("kept", "forgotten"):
        job_of(kit.observe(id)).end(State.SUCCEEDED, wait=False)
    step()
    assert kit.forget("forgotten")
    backend.down = True
    kit.observe("other")
    step()
    backend.down = False
    backend.lose_everything()
    step(20)
    step(20)
    assert backend.store.read(["kept", "forgotten"]).keys() == {"kept"}


def test_an_end_that_waits_to_be_stored_is_forgotten_with_its_job(
    kit: Kit, step: Step, backend: FlakyBackend, clock: FakeClock
) -> None:
    job = kit.observe("job")
    step()
    backend.refused = {"job"}
    job_of(job).end(State.SUCCEEDED, wait=False)
    step()
    clock.advance(60)
    assert kit.forget("job"), "all that the store knows is that it is not heard of"
    backend.refused = set()
    step(30)
    step(30)
    assert kit.get("job") is None


def test_who_watches_a_forgotten_job_sees_its_next_run(make_kit: MakeKit, backend: FlakyBackend) -> None:
    kit = make_kit(backend=backend, interval=0.02)
    backend.store.write([start("job", state=State.FAILED)])
    with kit.hub.view(["job"]) as viewer:
        assert viewer.get(30)["job"].done
        assert kit.forget("job")
        assert viewer.get(0.2) == {}
        backend.store.write([start("job", token="next", current=7)])
        assert viewer.get(30)["job"].current == 7
