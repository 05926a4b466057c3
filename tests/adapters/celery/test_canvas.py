"""A canvas that is sent as one job: each of its tasks is a part, however it ends, and counts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import chunks, xmap, xstarmap
from celery.signals import before_task_publish
from kombu.exceptions import EncodeError

import progresskit_celery
from progresskit.errors import ConfigurationError, InvalidId, InvalidValue, Unsupported
from progresskit.integrations import part_of
from progresskit.kit import Kit
from progresskit.parts import Parts
from progresskit.progress import State
from progresskit_celery import owned_by, send
from tests.core.doubles import FlakyBackend
from tests.services.waiting import PATIENCE

from .redis_site import RedisSite


@pytest.fixture(scope="module")
def sites(
    needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], RedisSite]]:
    """Give a function that returns the site of a pool."""
    needs("redis")
    known: dict[str, RedisSite] = {}
    with ExitStack() as stack:

        def site(pool: str) -> RedisSite:
            if pool not in known:
                known[pool] = RedisSite(tmp_path_factory.mktemp(pool), pool=pool)
                stack.callback(known[pool].close)
            return known[pool]

        yield site


@pytest.fixture
def prefork(sites: Callable[[str], RedisSite]) -> RedisSite:
    return sites("prefork")


@pytest.fixture(params=["prefork", "threads"])
def site(request: pytest.FixtureRequest, sites: Callable[[str], RedisSite]) -> RedisSite:
    """Give the site of each pool in turn."""
    return sites(request.param)


def shapes(site: RedisSite) -> dict[str, tuple[Any, int]]:
    """Return a canvas of each kind, with the number of its tasks."""
    s, plain = site.s, site.s("plain", 3)
    total = site.app.signature("proj.gathered")
    mapped = site.app.signature("proj.plain")
    return {
        "task": (plain, 1),
        "group": (group(s("plain", n) for n in range(5)), 5),
        "group of one": (group([plain]), 1),
        "empty group": (group([]), 0),
        "chord": (chord([s("plain", n) for n in range(5)], total), 6),
        "chain": (chain(plain, s("plain", 4), total), 3),
        "map": (xmap(mapped, [1, 2, 3], app=site.app), 1),
        "starmap": (xstarmap(mapped, [(1,), (2,)], app=site.app), 1),
        "chunks": (chunks(mapped, [(n,) for n in range(10)], 3, app=site.app), 4),
        "group in a chain": (chain(plain, group(plain, s("plain", 4)), total), 4),
        "chord in a chain": (chain(plain, chord([plain, s("plain", 4)], total), plain), 5),
        "empty group in a chain": (chain(plain, group([]), total), 2),
        "chains in a group": (group(chain(plain, s("plain", 4)), chain(plain, plain, plain)), 5),
        "group in a header": (chord([plain, group(plain, chain(plain, plain))], total), 5),
        "chord in a header": (chord([plain, chord([plain, plain], total)], total), 5),
        "group in a body": (chord([plain, plain], group(plain, plain)), 4),
        "chunks in a group": (group(chunks(mapped, [(n,) for n in range(4)], 2, app=site.app), plain), 3),
        "callback": (chain(plain, s("plain", 4, link=[plain])), 3),
        "callback that is a chain": (s("plain", 4, link=[chain(plain, plain)]), 3),
        "ignored result": (group(s("plain", 1, ignore_result=True), s("plain", 2, ignore_result=True)), 2),
        "left out": (group(plain, s("secret")), 1),
        "replaced": (group(s("replaced", 1), plain), 2),
        "replaced in a header": (chord([s("replaced", 1), s("replaced_by_chord", 2), plain], total), 4),
        "replaced in a chain": (chain(plain, s("replaced_by_chord", 1), total), 3),
        "retried": (chord([s("retries_inside", 0.1), plain], total), 3),
        "sends another": (chain(s("sends", 1), plain), 2),
    }


def test_a_canvas_of_any_shape_is_one_job_of_all_its_tasks(site: RedisSite) -> None:
    for name, (canvas, size) in shapes(site).items():
        id = f"{name.replace(' ', '-')}-{uuid4().hex[:8]}"
        with site.watched(id) as seen:
            result = site.canvas(canvas, id=id)
        done = seen[-1]

        assert result.progress_id == id, name
        assert (done.state, done.percent, done.parts) == (State.SUCCEEDED, 100, Parts(size, size, 0, 0, 0)), name
        assert {record.parts.size for record in seen if record.parts} == {size}, name
        percents = [record.percent for record in seen if record.percent is not None]
        assert percents == sorted(percents), name


def fresh(name: str) -> str:
    return f"{name}-{uuid4().hex[:8]}"


def test_each_task_has_its_own_job_too_and_they_are_its_owners(prefork: RedisSite) -> None:
    id = fresh("own")
    result = prefork.canvas(chain(prefork.s("steps", 4), prefork.s("plain", 3)), id=id, headers=owned_by("ada"))
    last, first = prefork.done(result.id), prefork.done(result.parent.id)
    root = prefork.done(id)

    assert [(task.kind, task.current, task.part_of) for task in (first, last)] == [
        ("proj.steps", 4, id),
        ("proj.plain", 3, id),
    ]
    assert {record.owner for record in (root, first, last)} == {"ada"}
    assert (root.part_of, root.kind) == (None, None)


def test_a_canvas_is_known_as_a_whole_before_its_first_task_is_sent(prefork: RedisSite) -> None:
    gate = prefork.gate()
    running = group(prefork.s("steps", 2, str(gate)), *(prefork.s("plain", n) for n in range(99)))
    id = fresh("hundred")
    with prefork.watched(id) as seen:
        prefork.canvas(running, id=id)
        known = prefork.kit.get(id)
        prefork.until_seen(id, lambda record: record.parts and record.parts.succeeded == 99)
        half = prefork.kit.get(id)
        gate.touch()

    assert known is not None
    assert known.parts is not None
    assert known.parts.size == 100
    assert half is not None
    assert (half.percent, half.state) == (99.5, State.RUNNING)
    assert [record.done for record in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1].parts == Parts(100, 100, 0, 0, 0)


FAILURES: dict[str, tuple[Callable[[RedisSite], Any], Parts, State]] = {
    "a member of a group": (
        lambda site: group(site.s("fails"), site.s("plain", 1)),
        Parts(2, 1, 1, 0, 0),
        State.FAILED,
    ),
    "a step of a chain": (
        lambda site: chain(site.s("plain", 1), site.s("fails"), site.s("plain", 2, link=[site.s("plain", 3)])),
        Parts(4, 1, 1, 2, 0),
        State.FAILED,
    ),
    "a header": (
        lambda site: chain(chord([site.s("fails"), site.s("plain", 1)], site.s("gathered")), site.s("plain", 2)),
        Parts(4, 1, 1, 2, 0),
        State.FAILED,
    ),
    "a chain in a header": (
        lambda site: chord([chain(site.s("fails"), site.s("plain", 1)), site.s("plain", 1)], site.s("gathered")),
        Parts(4, 1, 1, 2, 0),
        State.FAILED,
    ),
    "before a group in a chain": (
        lambda site: chain(site.s("fails"), group(site.s("plain", 1), site.s("plain", 2)), site.s("gathered")),
        Parts(4, 0, 1, 3, 0),
        State.FAILED,
    ),
    "a retry": (lambda site: group(site.s("flaky"), site.s("plain", 1)), Parts(2, 1, 1, 0, 0), State.FAILED),
    "a task that ignores itself": (
        lambda site: chain(site.s("ignores"), site.s("plain", 1)),
        Parts(2, 0, 0, 2, 0),
        State.CANCELLED,
    ),
    "a task that rejects itself": (
        lambda site: group(site.s("rejects"), site.s("plain", 1)),
        Parts(2, 1, 1, 0, 0),
        State.FAILED,
    ),
    "a task in the place of another": (
        lambda site: chord([site.s("replaced_by_failure"), site.s("plain", 1)], site.s("gathered")),
        Parts(3, 1, 1, 1, 0),
        State.FAILED,
    ),
    "no worker knows it": (
        lambda site: chain(site.s("nowhere"), site.s("plain", 1)),
        Parts(2, 0, 1, 1, 0),
        State.FAILED,
    ),
    "it has expired": (
        lambda site: chain(site.s("plain", 1).set(expires=-1), site.s("plain", 2)),
        Parts(2, 0, 0, 2, 0),
        State.CANCELLED,
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_is_counted_and_what_can_no_longer_run_is_cancelled(site: RedisSite, failure: str) -> None:
    canvas, parts, state = FAILURES[failure]
    done = site.done(site.canvas(canvas(site)).progress_id)

    assert (done.state, done.parts) == (state, parts)


LOST: dict[str, tuple[str, tuple[Any, ...]]] = {
    "its process is lost": ("dies", ()),
    "it overruns its time": ("overruns_hard", ()),
    "its process exits": ("exits", ()),
}


@pytest.mark.parametrize("how", LOST)
def test_what_only_the_supervisor_knows_of_reaches_the_job(prefork: RedisSite, how: str) -> None:
    task, arguments = LOST[how]
    header = [chain(prefork.s(task, *arguments), prefork.s("plain", 1)), prefork.s("plain", 2)]
    done = prefork.done(prefork.canvas(chord(header, prefork.s("gathered"))).progress_id)

    assert (done.state, done.parts) == (State.FAILED, Parts(4, 1, 1, 2, 0))


def test_a_task_that_is_delivered_again_counts_once(prefork: RedisSite) -> None:
    header = [prefork.s("dies_once", str(prefork.gate())), prefork.s("plain", 2)]
    done = prefork.done(prefork.canvas(chord(header, prefork.s("gathered"))).progress_id)

    assert (done.state, done.parts) == (State.SUCCEEDED, Parts(3, 3, 0, 0, 0))


def test_cancelling_the_job_stops_what_runs_and_removes_what_waits(site: RedisSite) -> None:
    id = fresh("cancelled")
    header = [site.s("advances"), *(site.s("tracks") for _ in range(20))]
    with site.watched(id) as seen:
        result = site.canvas(chain(chord(header, site.s("gathered")), site.s("plain", 1)), id=id)
        site.until_seen(id, lambda record: record.parts and record.parts.running == 2)
        assert site.kit.cancel(id)
    members = [site.done(task.id) for task in (*result.parent.parent.children, result.parent, result)]

    assert (seen[-1].state, seen[-1].parts) == (State.CANCELLED, Parts(23, 0, 0, 23, 0))
    assert {record.state for record in members} == {State.CANCELLED}
    assert site.done(site.send("plain", 1).id).state is State.SUCCEEDED, "the pool and the queue go on"


def test_a_cancelled_canvas_may_be_sent_again(prefork: RedisSite) -> None:
    id = fresh("again")
    prefork.canvas(prefork.s("advances"), id=id)
    prefork.until(id, State.RUNNING)
    with pytest.raises(InvalidValue, match="is not done"):
        prefork.canvas(prefork.s("plain", 1), id=id)
    prefork.kit.cancel(id)
    prefork.done(id)
    prefork.canvas(group(prefork.s("plain", 1), prefork.s("plain", 2)), id=id)
    done = prefork.until(id, State.SUCCEEDED)

    assert (done.version.run, done.parts) == (2, Parts(2, 2, 0, 0, 0))


def test_with_terminate_a_task_that_never_reports_is_killed(prefork: RedisSite) -> None:
    id = fresh("killed")
    kit = Kit(prefork.url, terminate=True)
    app = Celery("terminates", set_as_current=False)
    app.conf.update(prefork.settings)
    progresskit_celery.install(app, kit=kit)
    try:
        prefork.canvas(group(prefork.s("hold", str(prefork.gate())) for _ in range(4)), id=id)
        prefork.until_seen(id, lambda record: record.parts and record.parts.running == 2)
        kit.cancel(id)
        done = prefork.done(id)
    finally:
        progresskit_celery.installation._installations.pop(app)
        kit.close()

    assert (done.state, done.parts) == (State.CANCELLED, Parts(4, 0, 0, 4, 0))


def test_cancelling_a_task_cancels_one_part(prefork: RedisSite) -> None:
    result = prefork.canvas(group(prefork.s("advances"), prefork.s("plain", 1)))
    one = result.children[0].id
    prefork.until(one, State.RUNNING)
    prefork.kit.cancel(one)
    done = prefork.done(result.progress_id)

    assert (done.state, done.parts) == (State.CANCELLED, Parts(2, 1, 0, 1, 0))


def test_revoking_a_task_cancels_one_part(prefork: RedisSite) -> None:
    with prefork.occupied():
        result = prefork.canvas(group(prefork.s("plain", 2), prefork.s("plain", 1)))
        prefork.app.control.revoke(result.children[0].id, reply=True, limit=1, timeout=PATIENCE)
    done = prefork.done(result.progress_id)

    assert (done.state, done.parts) == (State.CANCELLED, Parts(2, 1, 0, 1, 0))


def test_parts_that_a_killed_worker_had_are_delivered_again_and_count_once(prefork: RedisSite, tmp_path: Path) -> None:
    site, id = RedisSite(tmp_path, redelivery_seconds=2), fresh("redelivered")
    gate = site.gate()
    header = [site.s("acknowledges_late", str(gate)) for _ in range(4)]
    with closing(site), site.watched(id) as seen:
        site.canvas(chord(header, site.s("gathered")), id=id)
        site.until_seen(id, lambda record: record.percent == 20)
        site.worker.kill()
        with site.start(name="second"):
            gate.touch()
            site.done(id)

    assert (seen[-1].state, seen[-1].parts) == (State.SUCCEEDED, Parts(5, 5, 0, 0, 0))
    percents = [record.percent for record in seen if record.percent is not None]
    assert percents == sorted(percents)


# Arguments, and what is refused; without a worker.


@pytest.fixture
def app() -> Iterator[Celery]:
    """Give an app with a kit of its own, and a broker in this process."""
    app = Celery("alone", set_as_current=False, broker="memory://", backend="cache+memory://")
    kit = Kit("memory://", flush_seconds=PATIENCE)
    progresskit_celery.install(app, kit=kit)
    with closing(kit):
        yield app
    progresskit_celery.installation._installations.pop(app)


def kit_of(app: Celery) -> Kit:
    installation = progresskit_celery.installation.find(app)
    assert installation is not None
    return installation.kit


def task(app: Celery, name: str = "reads", *arguments: Any) -> Any:
    return app.signature(name, arguments, immutable=True)


def tally(app: Celery, id: str) -> Any:
    record = kit_of(app).get(id)
    assert record is not None
    return record.tally


def test_tasks_count_by_their_weights(app: Celery) -> None:
    canvas = chord([task(app, "reads"), task(app, "stores")], task(app, "ends"))
    by_name = send(canvas, weights={"reads": 3, "stores": 5})
    by_function = send(canvas, weights=lambda signature: len(signature.task))
    mapped = send(chunks(task(app, "reads"), [(1,), (2,), (3,)], 2, app=app), weights={"reads": 7})

    assert [tally(app, each.progress_id)[1:3] for each in (by_name, by_function, mapped)] == [(3, 9), (3, 15), (2, 14)]


@pytest.mark.parametrize("weights", [{"reads": 0}, {"other": 1.5}, ["reads"], lambda signature: None])
def test_bad_weights_are_refused_before_anything_is_sent(app: Celery, weights: Any) -> None:
    with pytest.raises(InvalidValue, match="weights"):
        send(task(app), id="refused", weights=weights)
    assert kit_of(app).get("refused") is None


def test_a_job_that_was_declared_without_a_size_keeps_its_texts(app: Celery) -> None:
    kit_of(app).group("album", unit="pictures", description="Resizing", owner="ada")
    send(group(task(app), task(app)), id="album")
    record = kit_of(app).get("album")

    assert record is not None
    assert record.parts == Parts(2, 0, 0, 0, 0)
    assert (record.unit, record.description, record.owner) == ("pictures", "Resizing", "ada")


def test_the_id_of_a_job_that_has_work_is_refused(app: Celery) -> None:
    kit = kit_of(app)
    kit.group("declared", size=3)
    with kit.observe("observed"):
        kit.flush(PATIENCE)
        for id in ("declared", "observed"):
            with pytest.raises(InvalidValue, match=f"{id} is not done"):
                send(task(app), id=id)
    with pytest.raises(InvalidId):
        send(task(app), id="no id")


def test_a_backend_without_parts_is_refused_before_anything_is_sent(app: Celery) -> None:
    progresskit_celery.install(app, kit=Kit("memory://", backend=FlakyBackend(monotonic)))
    with pytest.raises(Unsupported):
        send(task(app))
    with pytest.raises(ConfigurationError, match="install"):
        send(Celery("bare", set_as_current=False).signature("reads"))


def test_a_canvas_that_cannot_be_sent_as_a_whole_is_cancelled(app: Celery) -> None:
    canvas = group(task(app), task(app, "reads", object()), task(app))
    with pytest.raises(EncodeError):
        send(canvas, id="half")
    record = kit_of(app).get("half")

    assert record is not None
    assert (record.state, record.parts) == (State.CANCELLED, Parts(3, 0, 0, 3, 0))


def test_the_signature_stays_as_it_was(app: Celery) -> None:
    callback = task(app, "ends")
    canvas = chain(task(app), group(task(app).set(link=[callback]), task(app)), callback)
    before = repr(dict(canvas)), dict(callback)
    send(canvas)

    assert (repr(dict(canvas)), dict(callback)) == before


def test_callbacks_headers_and_stamps_of_the_call_reach_the_tasks(app: Celery) -> None:
    sent: list[Any] = []
    receiver = before_task_publish.connect(lambda headers=None, body=None, **_: sent.append((headers, body)))
    try:
        result = send(
            chain(task(app, "reads"), task(app, "stores")),
            link=task(app, "ends"),
            headers={"origin": "here"},
            stamped_headers=["trace"],
            trace="t1",
        )
    finally:
        before_task_publish.disconnect(receiver)
    [(headers, (_, _, embedded))] = sent
    [follower] = embedded["chain"]

    assert tally(app, result.progress_id).size == 3
    assert (headers["origin"], headers["stamps"]["trace"]) == ("here", "t1")
    assert (follower["options"]["headers"]["origin"], follower["options"]["trace"]) == ("here", "t1")
    assert [part_of(callback["options"]["headers"]) for callback in follower["options"]["link"]] != [None]


@pytest.mark.parametrize(
    ("canvas", "parts", "error"),
    [
        (lambda s, bad: group(s(1), s(2)), Parts(2, 2, 0, 0, 0), False),
        (lambda s, bad: chord([s(1), s(2)], s(3)), Parts(3, 3, 0, 0, 0), False),
        (lambda s, bad: group(s(1), bad()), Parts(2, 1, 1, 0, 0), False),
        (lambda s, bad: chain(s(1), bad(), s(2)), Parts(3, 1, 1, 1, 0), True),
    ],
)
def test_eager_tasks_are_parts_too_and_those_that_never_ran_are_cancelled(
    app: Celery, canvas: Any, parts: Parts, error: bool
) -> None:
    app.conf.task_always_eager = True

    @app.task(name="good", shared=False)
    def good(*_: Any) -> None: ...

    @app.task(name="bad", shared=False)
    def bad() -> None:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk") if error else nullcontext():
        send(canvas(good.si, bad.si), id="eager")
    record = kit_of(app).get("eager")

    assert record is not None
    assert record.parts == parts
    assert record.done
