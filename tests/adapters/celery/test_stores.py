"""What a store promises apart from the contract: no result is replaced, whoever comes in between; and records last."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic, time
from typing import Any, NoReturn

import pytest
from celery import states
from celery.exceptions import TaskRevokedError

from progresskit.backends.prompt import PromptConnection
from progresskit.config import Settings
from progresskit.errors import BackendUnavailable, ConfigurationError
from progresskit.progress import State, Write
from progresskit.testing import FakeClock, external_update, start, update
from progresskit_celery import write_gate
from progresskit_celery.state import CeleryBackend
from progresskit_celery.state.backend import _mirror
from progresskit_celery.state.store import Change, Meta
from tests.contract.celery_apps import address, imported, on_django
from tests.services import patience
from tests.services.patience import be_patient
from tests.services.waiting import wait_until

from .stores import STORES, lacks

# Celery itself calls what newer versions of redis-py would rather have called otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

RESULTS: dict[str, Any] = {
    "SUCCESS": 42,
    "FAILURE": ValueError("no such row"),
    "REVOKED": TaskRevokedError("terminated"),
}


def app_on(store: str, folder: Path, **settings: Any) -> Any:
    """Return an app with that result backend."""
    if store == "django-db":
        app = imported(on_django(folder))
        app.conf.update(settings)
        return app
    (folder / "results").mkdir(exist_ok=True)
    return imported(address(STORES[store][1](folder), **settings))


def let_go(app: Any, store: str) -> None:
    """Close what Celery and Django have open in this thread."""
    if store == "django-db":
        from django.db import connections

        connections.close_all()
    elif store == "redis":
        app.backend.client.connection_pool.disconnect()
    elif store == "memcached":
        app.backend.client.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(
        patience.CELERY_ON_A_DATABASE
        | patience.CELERY_ON_FILES
        | patience.CELERY_ON_MEMCACHED
        | patience.CELERY_ON_REDIS,
        monkeypatch,
    )


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, missing_service: Callable[[str], NoReturn]) -> str:
    if lacks(request.param):
        missing_service(request.param)
    return str(request.param)


@pytest.fixture
def app(store: str, tmp_path: Path) -> Iterator[Any]:
    app = app_on(store, tmp_path)
    yield app
    let_go(app, store)


@pytest.fixture
def backend(app: Any) -> Iterator[CeleryBackend]:
    with closing(CeleryBackend(app)) as backend:
        yield backend


class Run:
    """Stands where a task's run does, for the gate of a task of that id."""

    def __init__(self, app: Any, id: str) -> None:
        self.task = self.execution = self.request = self
        self.app, self.id = app, id
        self.ignore_result = self.is_eager = False
        self.store_eager_result = False
        self.group: str | None = None
        self.parent_id: str | None = None
        self.children: list[Any] = []


# Records that cannot be read


@pytest.mark.parametrize(
    "result",
    [
        None,
        7,
        {"current": 1},
        "",
        "no lines",
        "[]\n\n{}",
        "7\n\n{}",
        '[1,1,1,"t","paused",null,false,1,1,1]\n\n{}',
        "\n\n",
    ],
)
def test_a_result_that_is_no_record_is_absent_stops_nothing_and_is_written_over(
    result: Any, backend: CeleryBackend
) -> None:
    backend.write([start("bad"), start("good")])
    backend._store.change({backend._name("bad"): lambda meta, now: Change(result, 3_600.0, now + 3_600.0)})
    assert backend.read(["bad", "good"]).keys() == {"good"}
    assert backend.request_cancel(["bad", "good"]) == backend.cancel_requested(["bad", "good"]) == {"good"}
    runs = backend.write([update("good", 2, current=5), start("bad", token="next", current=7)])
    assert runs["bad"] >= 1
    assert {id: progress.current for id, progress in backend.read(["bad", "good"]).items()} == {"bad": 7, "good": 5}


# The write gate


def test_a_task_is_mirrored_while_its_gate_is_open_and_neither_before_nor_after(
    app: Any, backend: CeleryBackend
) -> None:
    backend.write([start("job", current=1, total=4)])
    assert app.AsyncResult("job").state == "PENDING"
    with write_gate.open_gate(Run(app, "job")):  # type: ignore[arg-type]
        backend.write([update("job", 2, current=2, total=4, description="Half")])
        assert app.AsyncResult("job").state == "PROGRESS"
        assert app.AsyncResult("job").info == {"current": 2, "total": 4, "percent": 50, "description": "Half"}
    backend.write([update("job", 3, current=3, total=4)])
    assert app.AsyncResult("job").info["current"] == 2


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_the_state_of_a_task_is_that_of_its_execution_and_has_the_tasks_it_has_sent(
    app: Any, backend: CeleryBackend
) -> None:
    seen = list[tuple[int, list[str], str | None]]()
    for attempt in (1, 2):
        run = Run(app, "job")
        run.parent_id = f"parent-{attempt}"
        with write_gate.open_gate(run):  # type: ignore[arg-type]
            for current in (1, 2, 3):
                backend.write([update("job", current, attempt=attempt, current=current)])
                meta = app.backend.get_task_meta("job", cache=False)
                children = [child for (child, _), _ in meta["children"]]
                seen.append((meta["result"]["current"], children, meta["parent_id"]))
                if current == 2:
                    run.children.append(app.AsyncResult("child"))
    assert seen == [
        (current, ["child"] if current > 2 else [], f"parent-{attempt}") for attempt in (1, 2) for current in (1, 2, 3)
    ]


def test_a_worker_that_does_not_own_the_record_mirrors_nothing(app: Any, backend: CeleryBackend) -> None:
    backend.write([start("job"), start("other")])
    backend.write([start("job", token="redelivered")])
    with write_gate.open_gate(Run(app, "job")):  # type: ignore[arg-type]
        backend.write([update("job", 9, current=9)])
        assert app.AsyncResult("job").state == "PENDING"


def test_a_state_of_the_sites_own_is_left_alone(app: Any, backend: CeleryBackend) -> None:
    app.backend.store_result("job", {"page": 3}, "CRAWLING")
    with write_gate.open_gate(Run(app, "job")):  # type: ignore[arg-type]
        backend.write([start("job")])
    assert app.AsyncResult("job").state == "CRAWLING"
    assert app.AsyncResult("job").info == {"page": 3}


def test_the_end_of_a_function_waits_for_a_write_that_is_under_way() -> None:
    opened = write_gate.WriteGate("job", None, None)
    assert opened.enter()
    ended = Event()
    thread = Thread(target=lambda: (opened.close(), ended.set()))
    thread.start()
    wait_until(lambda: opened._closed, "the gate is closed")
    assert not opened.enter(), "nobody enters any more"
    assert not ended.is_set()
    opened.leave()
    thread.join(60)
    assert ended.is_set()


def test_a_task_whose_result_is_not_stored_has_no_gate(app: Any, backend: CeleryBackend) -> None:
    for how in ("ignore_result", "is_eager"):
        run = Run(app, f"job-{how}")
        setattr(run, how, True)
        with write_gate.open_gate(run):  # type: ignore[arg-type]
            backend.write([start(run.id)])
        assert app.AsyncResult(run.id).state == "PENDING"


# One round trip


def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list to which the commands of each exchange with Redis from now on are added."""
    sent: list[Any] = []
    execute = PromptConnection.execute

    def note_and_execute(connection: PromptConnection, *commands: Any) -> Any:
        sent.append(commands)
        return execute(connection, *commands)

    monkeypatch.setattr(PromptConnection, "execute", note_and_execute)
    return sent


def lose(backend: CeleryBackend) -> None:
    """Delete the record of the job, as a server does that is out of memory."""
    backend._app.backend.client.delete(backend._app.backend.get_key_for_task(backend._name("job")))


MEANWHILE: dict[str, Callable[[CeleryBackend], object]] = {
    "nothing": lambda backend: None,
    "a request to cancel": lambda backend: backend.request_cancel(["job"]),
    "another run": lambda backend: backend.write([start("job", token="redelivered", current=3)]),
    "an external end": lambda backend: backend.write([external_update("job", State.FAILED)]),
    "a record lost": lose,
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_a_write_of_a_running_job_takes_one_round_trip_and_is_folded_in_as_one_that_reads_before(
    app: Any, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(1_800_000_000.123457)
    one, two = (CeleryBackend(app, prefix=prefix, clock=clock) for prefix in ("one", "two"))
    writes = [
        start("job"),
        update("job", 2, current=2, total=9),
        update("job", 4, current=5, total=9, description="é\n"),
    ]
    end = update("job", 6, state=State.SUCCEEDED)
    sent = exchanges(monkeypatch)

    def write_both(write: Write) -> list[Any]:
        two.close()  # it remembers nothing
        runs = two.write([write])
        sent.clear()
        with write_gate.open_gate(Run(app, "job")):  # type: ignore[arg-type]
            assert one.write([write]) == runs
        commands = [command[0] for commands in sent for command in commands]
        assert one.load(["job"]) == two.load(["job"])
        clock.advance(0.1)
        return commands

    for write in writes[:2]:
        write_both(write)
    for backend in one, two:
        with closing(CeleryBackend(app, prefix=backend._prefix, clock=clock)) as other:
            MEANWHILE[meanwhile](other)
    commands = [write_both(write) for write in (writes[2], writes[2]._replace(seq=5), end)]
    if meanwhile == "nothing":
        assert commands == [[b"EVALSHA"]] * 3
    assert app.AsyncResult("job").info["current"] == (2 if meanwhile in {"another run", "an external end"} else 5)
    for backend in one, two:
        backend.close()


# Races


@pytest.mark.parametrize("final", RESULTS)
@pytest.mark.parametrize("before", [None, states.STARTED, states.RETRY, "PROGRESS"])
def test_a_result_that_is_stored_between_look_and_write_stays(
    store: str, app: Any, backend: CeleryBackend, final: str, before: str | None
) -> None:
    if before is not None:
        app.backend.store_result("task", {"current": 1} if before != states.RETRY else ValueError("again"), before)
    threads: list[Thread] = []

    def interlope() -> None:
        app.backend.store_result("task", RESULTS[final], final)
        let_go(app, store)

    def edit(meta: Meta | None, now: float) -> Change | None:
        # Looked at; and now comes somebody else, as the process that looks after the pool does. Where the store has
        # locked the row he has to wait, and comes right after.
        change = _mirror(start("task", current=7), Run(app, "task"), {"task"}, meta, now)
        if not threads:
            assert change is not None
            threads.append(Thread(target=interlope))
            threads[0].start()
            threads[0].join(0.5)
        return change

    backend._store.change({"task": edit})
    threads[0].join(60)
    result = app.AsyncResult("task")
    assert result.state == final
    assert repr(result.result) == repr(RESULTS[final])


@pytest.mark.parametrize("final", RESULTS)
def test_a_write_after_the_result_changes_nothing_though_the_gate_is_open(
    app: Any, backend: CeleryBackend, final: str
) -> None:
    with write_gate.open_gate(Run(app, "task")):  # type: ignore[arg-type]
        backend.write([start("task", current=1)])
        assert app.AsyncResult("task").state == "PROGRESS"
        app.backend.store_result("task", RESULTS[final], final)  # a time limit, for example
        backend.write([update("task", 2, current=2)])
    assert app.AsyncResult("task").state == final
    assert backend.read(["task"])["task"].current == 2


# Time


def expired(app: Any) -> None:
    """Do what Celery does once a day."""
    app.backend.cleanup()


def test_a_record_outlives_the_results_by_its_ttl(store: str, tmp_path: Path) -> None:
    app = app_on(store, tmp_path, result_expires=1)
    try:
        with closing(CeleryBackend(app)) as backend:
            backend.write([start("long", ttl=3_600), start("short", ttl=0.5)])
            began = time()
            wait_until(lambda: time() > began + 2, "the results would be gone")
            expired(app)
            assert backend.read(["long", "short"]).keys() == {"long"}
            assert backend._store.read(["progresskit-short"])[0] == {}, "nothing is left of it"
    finally:
        app.conf.update(result_expires=86_400)
        let_go(app, store)


# Serializers


@pytest.mark.parametrize("store", [name for name in STORES if name != "django-db"], indirect=True)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_record_survives_whatever_results_are_made_of(
    store: str, tmp_path: Path, serializer: str, compression: str | None
) -> None:
    settings = {
        "result_serializer": serializer,
        "accept_content": [serializer],
        "result_extended": True,
        "result_compression": compression if store in {"redis", "file"} else None,
    }
    app = app_on(store, tmp_path, **settings)
    text = "Zürich 東京 🚀 \x01 \u2028 \\ \" '"
    with closing(CeleryBackend(app)) as backend:
        with write_gate.open_gate(Run(app, "job")):  # type: ignore[arg-type]
            backend.write([start("job", description=text, meta={text: [text, 1.5]}, current=2**53, total=2**53)])
        ended = start("ended", state=State.SUCCEEDED, description=text, meta={text: [text, 1.5]})
        backend.write([ended])
        for progress in backend.read(["job", "ended"]).values():
            assert (progress.description, progress.meta) == (text, {text: [text, 1.5]})
        assert app.AsyncResult("job").info["current"] == 2**53
        assert app.AsyncResult("progresskit-job").state == "PROGRESS"
    let_go(app, store)


# What cannot be


@pytest.mark.parametrize(
    ("result_backend", "says"),
    [("rpc://", "once only"), ("disabled://", "has no result backend"), ("nonsense://", "cannot be had")],
)
def test_a_result_backend_that_cannot_serve_is_refused_at_configuration(result_backend: str, says: str) -> None:
    url = address(result_backend)
    with pytest.raises(ConfigurationError, match=says):
        CeleryBackend.from_url(url, Settings(url=url))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("celery://no_such_module:app", "cannot import"),
        ("celery://json:app", "has no app"),
        ("celery://json:dumps", "no Celery app"),
        ("celery://user:secret@host/1", "not the URL"),
    ],
)
def test_an_address_without_an_app_is_refused_at_configuration(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        CeleryBackend.from_url(url, Settings(url=url))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("result_backend", "says"),
    [
        ("db+postgresql+psycopg://user:geheim@host:port/name", "not the URL of a database"),
        ("db+postgresql+psycopg://user:geheim", "not the URL of a database"),
        ("db+postgresql+psycopg", "cannot be had"),
        ("db+mssql+pyodbc://user:geheim@host/name", "needs the package pyodbc, which is not installed"),
        ("db+nosuch://user:geheim@host/name", "sqlalchemy.dialects:nosuch"),
    ],
)
def test_a_database_that_cannot_be_is_refused_at_configuration(result_backend: str, says: str) -> None:
    url = address(result_backend)
    with pytest.raises(ConfigurationError, match=says) as raised:
        CeleryBackend.from_url(url, Settings(url=url))
    assert "geheim" not in str(raised.value)


def test_the_options_of_the_engine_are_those_of_the_site() -> None:
    class Driver:
        paramstyle, sqlite_version_info, Error = "qmark", (3, 40, 0), Exception

    url = "db+mysql+mysqldb://user:geheim@host/name"  # whose driver is not here: the site brings one that is like it
    with pytest.raises(ConfigurationError, match="needs the package MySQLdb"):
        CeleryBackend(imported(address(url)))
    app = imported(address(url))
    app.conf.database_engine_options = {"module": Driver}
    CeleryBackend(app).close()
    app.conf.database_engine_options = {"module": Driver, "nonsense": 1}
    with pytest.raises(ConfigurationError, match="'nonsense'"):
        CeleryBackend(app)


SENDER = """
import logging, sys
from celery import Celery
import progresskit, progresskit_celery

app = Celery("sender", broker="memory://", backend="db+mssql+pyodbc://user:geheim@host/name")
app.conf.database_create_tables_at_setup = False  # else Celery itself needs the driver
progresskit_celery.install(app)
for number in range(3):
    app.send_task("work", task_id=f"task-{number}", ignore_result=True)
print("sent")
"""


def test_who_sends_without_the_driver_of_the_results_is_warned_once() -> None:
    sent = subprocess.run(
        [sys.executable, "-c", SENDER],
        env=os.environ | {"PROGRESSKIT_URL": "celery://", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert sent.stdout == "sent\n"
    assert sent.stderr.count("needs the package pyodbc") == 1
    assert "Traceback" not in sent.stderr


def test_an_app_that_is_not_configured_is_refused_and_the_current_one_is_found() -> None:
    from celery import Celery, current_app

    app, before = Celery("fresh", set_as_current=False), current_app._get_current_object()
    try:
        app.set_current()
        with pytest.raises(ConfigurationError, match="set result_backend before"):
            CeleryBackend.from_url("celery://", Settings(url="celery://"))
        app.conf.result_backend = "cache+memory://"
        backend = CeleryBackend.from_url("celery://", Settings(url="celery://"))
        assert not backend.shared
        assert backend.write([start("job")]) == {"job": 1}
        backend.close()
    finally:
        before.set_current()


def test_a_prefix_that_makes_ids_too_long_for_a_table_is_refused(tmp_path: Path) -> None:
    url = address(f"db+sqlite:///{tmp_path}/results.db")
    with pytest.raises(ConfigurationError, match="too long"):
        CeleryBackend.from_url(url, Settings(url=url, prefix="p" * 40))


def test_a_call_that_is_not_answered_is_given_up_and_the_next_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    from progresskit_celery.state import bounded_executor

    monkeypatch.setattr(bounded_executor, "CALL_SECONDS", 0.05)
    left, gate = list[int](), Event()
    executor = bounded_executor.BoundedExecutor(lambda: left.append(1))
    for _ in range(bounded_executor.THREADS):
        with pytest.raises(BackendUnavailable, match="not answered"):
            executor.call("the store", gate.wait)
    monkeypatch.setattr(bounded_executor, "CALL_SECONDS", 10)
    assert executor.call("the store", lambda: 5) == 5
    gate.set()
    executor.close()
    wait_until(lambda: len(left) == bounded_executor.THREADS + 1, "every thread has left")


def test_an_answer_that_comes_at_the_very_end_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from progresskit_celery.state import bounded_executor

    class JustInTime(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            try:
                return super().result(timeout)
            except FutureTimeout:
                over.set()
                wait_until(self.done, "it is answered")
                raise

    over = Event()
    monkeypatch.setattr(bounded_executor, "Future", JustInTime)
    monkeypatch.setattr(bounded_executor, "CALL_SECONDS", 0.05)
    executor = bounded_executor.BoundedExecutor(lambda: None)
    assert executor.call("the store", lambda: int(over.wait(60))) == 1
    executor.close()


def test_no_state_of_a_record_is_final_for_celery(app: Any, backend: CeleryBackend) -> None:
    backend.write([start("job", state=State.FAILED)])
    assert not app.AsyncResult("progresskit-job").ready()


# Memcached's clock


def test_a_supervisor_ends_a_run_though_memcached_states_its_time_in_whole_seconds(
    tmp_path: Path, missing_service: Callable[[str], NoReturn]
) -> None:
    if lacks("memcached"):
        missing_service("memcached")
    from progresskit_celery.state.on_cache import LAG_SECONDS

    app = imported(address(STORES["memcached"][1](tmp_path)))

    client, numbers = app.backend.client, count()

    def is_late(stated: bytes) -> bool:
        """Return whether the server states another time now, or stated that one for too long."""
        return bool(client.stats()[b"time"] != stated or time() - float(stated) > LAG_SECONDS)

    def cut_short(id: str) -> State | None:
        """Return the state of a run that a supervisor ended; None where the server was late to look at its clock."""
        with closing(CeleryBackend(app)) as worker, closing(CeleryBackend(app)) as supervisor:
            ticked = next_tick(client)
            stated = client.stats()[b"time"]
            worker.read([id])  # asks for the time just after the server's clock has ticked
            if is_late(stated):
                return None
            wait_until(lambda: monotonic() - ticked > 0.9, "the last tenth of that second")
            stated = client.stats()[b"time"]
            worker.write([start(id, age=0.0)])
            # This write asks for the time just before the clock ticks again.
            supervisor.write([external_update(id, State.CANCELLED)])
            if is_late(stated):
                return None
            return supervisor.read([id])[id].state

    state = wait_until(lambda: cut_short(f"cut-short-{next(numbers)}"), "the server looks at its clock in time")
    assert state is State.CANCELLED
    let_go(app, "memcached")


def next_tick(client: Any) -> float:
    """Wait until the clock of memcached ticks; return when it did, in seconds of the monotonic clock."""
    before = client.stats()[b"time"]
    wait_until(lambda: client.stats()[b"time"] != before, "memcached's clock ticks")
    return monotonic()


# The clock of a server
