"""The state PROGRESS of a task, as `AsyncResult` alone sees it: while its function runs, and in place of no result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any, NoReturn

import pytest
from celery import states
from celery.exceptions import TaskRevokedError

from progresskit import Kit
from progresskit.errors import BackendUnavailable
from progresskit.testing import start
from progresskit_celery import mirror
from progresskit_celery.state import mirrors, store
from tests.contract.celery_apps import imported
from tests.services import patience
from tests.services.patience import be_patient

from .stores import STORES, lacks, let_go, url_on

# Celery itself calls what newer versions of redis-py would rather have called otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

RESULTS: dict[str, Any] = {
    "SUCCESS": 42,
    "FAILURE": ValueError("no such row"),
    "REVOKED": TaskRevokedError("terminated"),
}


LIMITS = {
    "redis": patience.CELERY_MIRROR,
    "db-postgresql": patience.CELERY_ON_A_DATABASE,
    "django-db": patience.CELERY_ON_A_DATABASE,
    "file": patience.CELERY_ON_FILES,
    "memcached": patience.CELERY_ON_MEMCACHED,
}


@pytest.fixture(params=STORES)
def kind(
    request: pytest.FixtureRequest, missing_service: Callable[[str], NoReturn], monkeypatch: pytest.MonkeyPatch
) -> str:
    if lacks(request.param):
        missing_service(request.param)
    be_patient(LIMITS[request.param], monkeypatch)
    return str(request.param)


@pytest.fixture
def kit(kind: str, tmp_path: Path) -> Iterator[Kit]:
    url = url_on(kind, tmp_path)
    with closing(Kit(url, strict=True)) as kit:
        kit.backend.read(["job"])  # it is made; from here on states are written
        yield kit
    let_go(imported(url), kind)


@pytest.fixture
def app(kit: Kit) -> Any:
    return imported(kit.settings.url)


class Run:
    """Stands where the run of a task of that id does, whose job is a job of the kit's."""

    def __init__(self, app: Any, kit: Kit, id: str = "job") -> None:
        self.task = self.execution = self.request = self
        self.app, self.id, self.job = app, id, kit.observe(id)
        self.ignore_result = self.is_eager = self.is_mirrored = False
        self.store_eager_result = False
        self.group: str | None = None
        self.parent_id: str | None = None
        self.children: list[Any] = []


def reported(kit: Kit, run: Run, current: int, total: int | None = None, description: str | None = None) -> None:
    """Report, and wait until it is stored and mirrored."""
    run.job.set_progress(current, total, description)
    kit.flush(60)


# While the function runs


def test_a_task_is_mirrored_while_its_function_runs_and_neither_before_nor_after(app: Any, kit: Kit) -> None:
    run = Run(app, kit)
    reported(kit, run, 1, 4)
    assert app.AsyncResult("job").state == "PENDING"
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 2, 4, "Half")
        assert app.AsyncResult("job").state == "PROGRESS"
        assert app.AsyncResult("job").info == {"current": 2, "total": 4, "percent": 50, "description": "Half"}
    reported(kit, run, 3, 4)
    run.job.succeed()
    assert app.AsyncResult("job").info["current"] == 2


@pytest.mark.parametrize("kind", ["redis", "memcached"], indirect=True)
def test_the_state_of_a_task_has_its_parent_and_the_tasks_it_has_sent(app: Any, kit: Kit) -> None:
    run = Run(app, kit)
    run.parent_id = "parent"
    seen = []
    with mirror.mirrored(run):  # type: ignore[arg-type]
        for current in (1, 2):
            reported(kit, run, current)
            meta = app.backend.get_task_meta("job", cache=False)
            seen.append((meta["parent_id"], [child for (child, _), _ in meta["children"]]))
            run.children.append(app.AsyncResult("child"))
    assert seen == [("parent", []), ("parent", ["child"])]


def test_a_state_of_the_sites_own_is_left_alone(app: Any, kit: Kit) -> None:
    app.backend.store_result("job", {"page": 3}, "CRAWLING")
    run = Run(app, kit)
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 1)
    assert (app.AsyncResult("job").state, app.AsyncResult("job").info) == ("CRAWLING", {"page": 3})


def test_a_run_that_does_not_own_the_record_any_more_mirrors_nothing(app: Any, kit: Kit) -> None:
    run = Run(app, kit)
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 1)
        kit.backend.write([start("job", token="redelivered")])
        reported(kit, run, 2)
    assert app.AsyncResult("job").info["current"] == 1


@pytest.mark.parametrize("how", ["ignore_result", "is_eager"])
def test_the_state_of_a_task_without_a_result_is_left_alone(app: Any, kit: Kit, how: str) -> None:
    run = Run(app, kit, f"job-{how}")
    setattr(run, how, True)
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 1)
    assert app.AsyncResult(run.id).state == "PENDING"


class Stage:
    """A store of states that is held up."""

    def __init__(self) -> None:
        self.entered, self.gate, self.written = Event(), Event(), list[Any]()

    def mirror(self, request: Any, result: Any) -> None:
        self.entered.set()
        assert self.gate.wait(60)
        self.written.append(result["current"])


@pytest.fixture
def held_up() -> Iterator[tuple[Kit, Run, Stage]]:
    stage = Stage()

    class App:
        """Be what states are kept by."""

    app = App()
    with closing(Kit("memory://", strict=True)) as kit:
        mirror.mirror_in(app, stage)
        yield kit, Run(app, kit), stage
        stage.gate.set()


def test_the_end_of_a_function_waits_for_a_write_that_is_under_way_and_there_is_none_after_it(
    held_up: tuple[Kit, Run, Stage],
) -> None:
    kit, run, stage = held_up
    ended = Event()

    def function() -> None:
        with mirror.mirrored(run):  # type: ignore[arg-type]
            run.job.set_progress(1)
            assert stage.entered.wait(60)
        ended.set()

    thread = Thread(target=function)
    thread.start()
    assert stage.entered.wait(60)
    assert not ended.wait(0.2), "the write is under way"
    stage.gate.set()
    thread.join(60)
    reported(kit, run, 2)
    assert stage.written == [1]


def test_a_store_that_is_away_is_left_alone_for_a_while_and_the_record_goes_on(
    held_up: tuple[Kit, Run, Stage], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kit, run, stage = held_up
    calls = list[int]()

    def fail(request: Any, result: Any) -> NoReturn:
        calls.append(result["current"])
        raise BackendUnavailable("it is away")

    monkeypatch.setattr(stage, "mirror", fail)
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 1)
        reported(kit, run, 2)
        assert kit.backend.read(["job"])["job"].current == 2
        assert calls == [1]
        monkeypatch.setitem(mirror._mirrors.paused_until, run.app, 0.0)
        reported(kit, run, 3)
    assert calls == [1, 3]
    assert "The state of task job cannot be stored" in caplog.text


# Races


def interpose(
    act: Callable[[], None], kind: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Have a function called when the state of a task was looked at, and is about to be replaced."""
    if kind == "redis":
        decoded = store.decoded
        monkeypatch.setattr(mirrors, "decoded", lambda *arguments: (act(), decoded(*arguments))[1])
    elif kind.startswith("db-"):
        from sqlalchemy import Engine, event

        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(("INSERT INTO celery_taskmeta", "UPDATE celery_taskmeta")):
                act()

        event.listen(Engine, "before_cursor_execute", before)
        request.addfinalizer(lambda: event.remove(Engine, "before_cursor_execute", before))
    else:
        change = store.Change
        monkeypatch.setattr(store, "Change", lambda *arguments, **more: (act(), change(*arguments, **more))[1])


@pytest.mark.parametrize("final", RESULTS)
@pytest.mark.parametrize("before", [None, states.STARTED, states.RETRY, "PROGRESS"])
def test_a_result_that_is_stored_between_look_and_write_stays(
    kind: str,
    app: Any,
    kit: Kit,
    final: str,
    before: str | None,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if before is not None:
        app.backend.store_result("job", {"current": 1} if before != states.RETRY else ValueError("again"), before)
    threads: list[Thread] = []

    def interlope() -> None:
        app.backend.store_result("job", RESULTS[final], final)
        let_go(app, kind)

    def act() -> None:
        # As the process that looks after the pool comes. Where the store has locked the row it waits, and comes after.
        if not threads:
            threads.append(Thread(target=interlope))
            threads[0].start()
            threads[0].join(0.5)

    interpose(act, kind, monkeypatch, request)
    run = Run(app, kit)
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 7)
    threads[0].join(60)
    result = app.AsyncResult("job")
    assert result.state == final
    assert repr(result.result) == repr(RESULTS[final])


@pytest.mark.parametrize("final", RESULTS)
def test_a_report_after_the_result_changes_nothing_though_the_function_runs(app: Any, kit: Kit, final: str) -> None:
    run = Run(app, kit)
    with mirror.mirrored(run):  # type: ignore[arg-type]
        reported(kit, run, 1)
        assert app.AsyncResult("job").state == "PROGRESS"
        app.backend.store_result("job", RESULTS[final], final)  # a time limit, for example
        reported(kit, run, 2)
    assert app.AsyncResult("job").state == final
    assert kit.backend.read(["job"])["job"].current == 2


# Serializers


@pytest.mark.parametrize("kind", [name for name in STORES if name != "django-db"], indirect=True)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_state_is_made_of_what_the_results_are_made_of(
    kind: str, tmp_path: Path, serializer: str, compression: str | None
) -> None:
    url = url_on(
        kind,
        tmp_path,
        result_serializer=serializer,
        accept_content=[serializer],
        result_extended=True,
        result_compression=compression if kind in {"redis", "file"} else None,
    )
    app, text = imported(url), "Zürich 東京 🚀 \x01 \u2028 \\ \" '"
    with closing(Kit(url, strict=True)) as kit:
        kit.backend.read(["job"])
        run = Run(app, kit)
        with mirror.mirrored(run):  # type: ignore[arg-type]
            reported(kit, run, 2**53, 2**53, text)
        assert app.AsyncResult("job").info["current"] == 2**53
        record = kit.get("job")
        assert record is not None
        assert record.description == app.AsyncResult("job").info["description"] == text
    let_go(app, kind)
