"""Tasks that run in the process that calls them: eagerly, or as the plain functions they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from time import monotonic
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore

import progresskit_celery
from progresskit.errors import Cancelled
from progresskit.kit import Kit
from progresskit.memory import MemoryBackend
from progresskit.progress import Progress, State, Write
from progresskit.scope import current_job
from progresskit.testing import external_update
from progresskit_celery import ProgressObserver

SECONDS = 20
"""How long a task works that nobody stops."""


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", flush_seconds=60)  # what has ended is stored, however busy the machine is
    yield kit
    kit.close()


@pytest.fixture
def app(kit: Kit) -> Celery:
    app = Celery("eager", set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.update(task_always_eager=True)
    progresskit_celery.install(app, kit=kit)
    return app


def last(kit: Kit, result: Any) -> Progress:
    progress = kit.get(result.id)
    assert progress is not None
    return progress


def test_an_eager_task_is_a_job(app: Celery, kit: Kit) -> None:
    @app.task(name="count", shared=False)
    def count(n: int) -> None:
        for _ in kit.track(range(n)):
            pass

    done = last(kit, count.delay(5))

    assert (done.state, done.kind, done.current, done.parent) == (State.SUCCEEDED, "count", 5, None)
    assert current_job() is None


def test_a_task_has_steps_which_a_retry_begins_again(app: Celery, kit: Kit) -> None:
    seen: list[tuple[int, list[str], float | None]] = []

    @app.task(shared=False, bind=True, max_retries=1)
    def import_rows(self: Task) -> None:
        with kit.observe(steps={"Download": 1, "Parse": 3}):
            with kit.current().step("Download", total=4) as download:
                download.advance(2)
                progress = kit.current().progress
                seen.append((progress.attempt, [step.state for step in progress.steps or ()], progress.percent))
            with kit.step("Parse"):
                for _ in kit.track(range(2)):
                    if not self.request.retries:
                        raise self.retry(countdown=0)

    done = last(kit, import_rows.delay())

    assert seen == [(attempt, ["running", "pending"], 12.5) for attempt in (1, 2)]
    assert (done.state, done.percent, done.step, done.attempt) == (State.SUCCEEDED, 100, 2, 2)
    assert [(step.name, step.state) for step in done.steps or ()] == [("Download", "succeeded"), ("Parse", "succeeded")]


def test_an_eager_task_within_a_task_is_its_child(app: Celery, kit: Kit) -> None:
    inner_ids = []

    @app.task(shared=False)
    def inner() -> None:
        kit.current().set_progress(3, 3)

    @app.task(shared=False)
    def outer() -> None:
        kit.current().set_progress(1, 2)
        inner_ids.append(inner.delay().id)
        kit.current().advance()

    outer_done = last(kit, outer.delay())
    inner_done = kit.get(inner_ids[0])

    assert inner_done is not None
    assert (inner_done.state, inner_done.current, inner_done.parent) == (State.SUCCEEDED, 3, outer_done.id)
    assert (outer_done.state, outer_done.current) == (State.SUCCEEDED, 2)


def test_an_eager_task_retries_in_the_same_run(app: Celery, kit: Kit) -> None:
    @app.task(bind=True, max_retries=2, shared=False)
    def flaky(self: Task) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=60)
        return 7

    result = flaky.delay()
    done = last(kit, result)

    assert result.get() == 7
    assert (done.state, done.attempt, done.version.run) == (State.SUCCEEDED, 3, 1)


@pytest.mark.parametrize("propagates", [True, False])
def test_an_eager_task_that_raises_is_failed(app: Celery, kit: Kit, propagates: bool) -> None:
    app.conf.task_eager_propagates = propagates

    @app.task(bind=True, shared=False)
    def fails(self: Task) -> None:
        raise KeyError("row")

    id = f"fails-{propagates}"
    if propagates:
        with pytest.raises(KeyError):
            fails.apply_async(task_id=id)
    else:
        fails.apply_async(task_id=id)
    done = kit.get(id)

    assert done is not None
    assert done.error is not None
    assert (done.state, done.error.type) == (State.FAILED, "KeyError")
    assert current_job() is None


def test_a_cancelled_eager_task_raises_nothing(app: Celery, kit: Kit) -> None:
    @app.task(autoretry_for=(Exception,), shared=False)
    def stops() -> None:
        raise Cancelled

    result = stops.delay()

    assert last(kit, result).state is State.CANCELLED
    assert result.state == "IGNORED"


class EndsWhatWaits(MemoryBackend):
    """Ends a job that waits, and is to stop, right after it was read: somebody who cancels is slower than a worker."""

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        found = super().read(ids)
        waiting = [id for id, job in found.items() if job.state is State.PENDING and job.cancel_requested]
        self.write([external_update(id, State.CANCELLED) for id in waiting])
        return found


class EndsWhatBegins(MemoryBackend):
    """Cancels and ends a job that waits, right before its worker's first record is stored."""

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        begun = [write.id for write in batch if write.token is not None]
        waiting = [id for id, job in self.read(begun).items() if job.state is State.PENDING]
        self.request_cancel(waiting)
        super().write([external_update(id, State.CANCELLED) for id in waiting])
        return super().write(batch)


@pytest.mark.parametrize(("kind", "asked"), [(EndsWhatWaits, True), (EndsWhatBegins, False)])
def test_a_task_that_is_begun_while_it_is_cancelled_stops(kind: type[MemoryBackend], asked: bool) -> None:
    backend = kind()
    backend.write([external_update("job")])
    if asked:
        assert backend.request_cancel(["job"]) == {"job"}
    app = Celery("eager", set_as_current=False, broker="memory://", backend="cache+memory://")
    with closing(Kit(backend=backend, flush_seconds=60)) as kit:
        progresskit_celery.install(app, kit=kit)

        @app.task(shared=False)
        def work() -> None:
            deadline = monotonic() + SECONDS
            while monotonic() < deadline:
                kit.current().advance()

        result = work.apply(task_id="job")
        kit.flush()
        done = kit.get("job")

    assert result.state == "IGNORED"
    assert done is not None
    assert (done.state, done.version.run) == (State.CANCELLED, 1)


def test_the_result_is_shown_where_the_site_wants_that(app: Celery, kit: Kit) -> None:
    @app.task(serializer="pickle", shared=False)
    def returns(n: int) -> Any:
        return {"rows": n} if n else object()

    kit.configure("memory://", expose_results=True, strict=True, flush_seconds=60)
    app.conf.update(task_serializer="pickle", accept_content=["pickle", "json"])

    assert last(kit, returns.delay(3)).result == {"rows": 3}
    odd = last(kit, returns.delay(0))
    assert (odd.state, odd.result) == (State.SUCCEEDED, None), "what is not JSON is left out"


def test_the_classic_form_reports_to_the_task(app: Celery, kit: Kit) -> None:
    @app.task(bind=True, shared=False)
    def classic(self: Task, n: int) -> None:
        observer = ProgressObserver(self)
        for i in range(n):
            observer.set_progress(i, n, "reading")
        observer.advance()
        observer.update(meta={"skipped": 2})

    done = last(kit, classic.delay(4))

    assert (done.state, done.current, done.total, done.description) == (State.SUCCEEDED, 4, 4, "reading")
    assert done.meta == {"skipped": 2}


def test_the_classic_form_is_silent_in_a_plain_call(app: Celery, kit: Kit) -> None:
    @app.task(bind=True, shared=False)
    def classic(self: Task, n: int) -> int:
        ProgressObserver(self).set_progress(n, n)
        return n

    with kit.observe("around", total=9) as around:
        assert classic(3) == 3
        assert around.progress.current == 0


def test_the_classic_form_asks_for_no_backend_in_a_plain_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGRESSKIT_URL", "carrier-pigeon://roof")
    monkeypatch.setattr("progresskit.default_kit._default", Kit())
    app = Celery("bare", set_as_current=False)

    @app.task(bind=True, shared=False)
    def classic(self: Task, n: int) -> int:
        ProgressObserver(self).set_progress(n, n)
        return n

    assert classic(3) == 3


def test_the_classic_form_installs_itself() -> None:
    import progresskit

    app = Celery("bare", set_as_current=False)
    app.conf.update(task_always_eager=True)

    @app.task(bind=True, shared=False)
    def classic(self: Task, n: int) -> None:
        ProgressObserver(self).set_progress(n, n, "reading")
        assert not progresskit.current().cancellable

    done = progresskit.get(classic.delay(3).id)

    assert done is not None
    assert (done.state, done.current, done.description) == (State.SUCCEEDED, 3, "reading")


def test_cancelling_goes_through_a_task_that_is_called_as_a_function(app: Celery) -> None:
    @app.task(shared=False)
    def stops() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        stops()


@pytest.mark.parametrize("ignore", [["left_out"], "left_out", lambda name: name == "left_out"])
def test_tasks_can_be_left_out(app: Celery, kit: Kit, ignore: Any) -> None:
    progresskit_celery.install(app, kit=kit, ignore=ignore)

    @app.task(name="left_out", bind=True, shared=False)
    def left_out(self: Task) -> None:
        ProgressObserver(self).set_progress(1, 2)
        assert current_job() is None

    assert kit.get(left_out.delay().id) is None


def test_cancelling_can_be_turned_off(app: Celery, kit: Kit) -> None:
    progresskit_celery.install(app, kit=kit, cancellable=False)
    seen = {}

    @app.task(name="default", shared=False)
    def default() -> None:
        seen["default"] = kit.current().cancellable

    @app.task(name="willing", shared=False)
    def willing() -> None:
        seen["willing"] = kit.current().cancellable

    willing.progress_cancellable = True
    default.delay()
    willing.delay()

    assert seen == {"default": False, "willing": True}


def test_a_child_job_left_by_a_control_exception_has_not_failed(app: Celery, kit: Kit) -> None:
    @app.task(shared=False)
    def ignores() -> None:
        with kit.observe("inner"):
            raise Ignore

    result = ignores.delay()
    inner = kit.get("inner")

    assert inner is not None
    assert inner.state is State.CANCELLED
    assert last(kit, result).state is State.CANCELLED
