"""Every file of docs/examples is really run, each by the test that is marked with its name."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn, TypeVar

import pytest

import progresskit
from progresskit import State, default_kit
from progresskit.integrations import owned_by
from progresskit.progress import Failure
from progresskit.web import sign
from tests.adapters.celery.worker import start_worker
from tests.contract.shims import uvicorn_serving
from tests.services import server
from tests.services.process import Process
from tests.services.waiting import wait_until

from .pages import EXAMPLES
from .running import address, python

Test = TypeVar("Test", bound=Callable[..., Any])

IN_A_BROWSER = ("cors_app.py", "django_start", "htmx", "plain", "react", "vite", "vue")
"""The files and folders that tests/browser/test_examples.py runs."""

WITH_LIBRARIES = "libraries"
"""The folder that test_libraries.py runs."""

_run: set[Path] = set()


def runs(*names: str) -> Callable[[Test], Test]:
    """Mark a test with the examples that it runs."""
    _run.update(EXAMPLES / name for name in names)
    return lambda test: test


@pytest.fixture(autouse=True)
def restored_default_kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROGRESSKIT_FLUSH_SECONDS", "60")  # for a busy machine
        progresskit.configure("memory://")
        yield
    progresskit.configure()
    default_kit.host_settings({})


def load(name: str) -> Any:
    """Import an example, under a name that no other module has."""
    spec = importlib.util.spec_from_file_location(f"example_{name.removesuffix('.py')}", EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(folder: Path, name: str) -> Path:
    """Return a copy of a file or folder of the examples, which may write beside itself there."""
    source, target = EXAMPLES / name, folder / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
    return target


def done(id: str) -> progresskit.Progress:
    """Wait for the end of a job."""
    *_, last = progresskit.watch(id)
    return last


def test_every_example_is_run_here_in_a_browser_or_with_its_library() -> None:
    files = {path for path in EXAMPLES.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts}
    elsewhere = (*IN_A_BROWSER, WITH_LIBRARIES)
    assert files - _run == {path for path in files if path.relative_to(EXAMPLES).parts[0] in elsewhere}
    assert not _run - files


# Web.


@runs("quickstart.py")
def test_the_quickstart_serves_a_page_whose_job_runs_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    quickstart = load("quickstart.py")
    monkeypatch.setattr(quickstart, "sleep", lambda seconds: time.sleep(seconds / 50))
    client = quickstart.app.test_client()
    source = address(client.get("/").text)
    assert client.get("/progress/progresskit.js").status_code == 200
    until = time.monotonic() + 60
    while (answer := client.get(source)).status_code == 404 and time.monotonic() < until:
        assert answer.headers["Retry-After"] == "1"
        time.sleep(0.01)
    last = done(answer.json["id"])
    assert (last.state, last.current, last.total, last.unit) == (State.SUCCEEDED, 300, 300, "rows")
    assert client.get(source).json["state"] == "succeeded"


@runs("fastapi_app.py")
def test_the_page_of_fastapi_shows_a_job_that_runs_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    example = load("fastapi_app.py")
    monkeypatch.setattr(example, "sleep", lambda seconds: time.sleep(seconds / 50))
    with uvicorn_serving(example.app) as site:
        page = httpx.get(site).text
        source = site + address(page)
        while (answer := httpx.get(source)).status_code == 404:
            time.sleep(0.01)
        last = done(answer.json()["id"])
        assert (last.state, last.current, last.unit) == (State.SUCCEEDED, 200, "rows")
        assert httpx.get(source).json()["state"] == "succeeded"
    assert " cancel>" in page


def open_read_pipe(pipe: Path) -> int | None:
    """Return a descriptor to write to a named pipe that a program reads; None while none does."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


REPORTERS = {
    "report.sh": ("bash",),
    "report.mjs": ("node",),
    "report.php": ("php",),
    "report_urllib.py": (sys.executable, "-B"),
}


@runs(*REPORTERS)
@pytest.mark.parametrize("name", REPORTERS)
def test_a_program_in_any_language_reports_its_end_its_failure_and_that_it_was_cancelled(
    name: str, tmp_path: Path, missing_service: Callable[..., NoReturn]
) -> None:
    from progresskit_asgi import ProgressApp

    command = REPORTERS[name]
    if shutil.which(command[0]) is None:
        missing_service(command[0])
    (tmp_path / "file").write_text("content")
    os.mkfifo(tmp_path / "slow")
    default_kit.host_settings({"secret_key": "a secret key that is long enough"})

    @contextmanager
    def reporting(id: str, *files: str) -> Iterator[subprocess.Popen[str]]:
        arguments = [*command, str(EXAMPLES / name), f"{site}/progress/{sign(id, 'report')}/", *files]
        with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    with uvicorn_serving(ProgressApp()) as site:
        with reporting("good", "file", "file") as process:
            out, _ = process.communicate(timeout=60)
            assert (process.returncode, out.count(hashlib.sha256(b"content").hexdigest())) == (0, 2)
        last = done("good")
        assert (last.state, last.current, last.total, str(last.version)) == (State.SUCCEEDED, 2, 2, "1.1.4")
        assert (last.unit, last.description) == ("files", "Checksums")
        with reporting("bad", "file", "missing", "file") as process:
            assert process.wait(60) != 0
        last = done("bad")
        assert (last.state, last.current) == (State.FAILED, 1)
        assert last.error == Failure("Error", "A file cannot be read", public=True)
        with reporting("stopped", "file", "slow", "file") as process:
            # Once the program reads it, the answer to the report before has arrived.
            with os.fdopen(wait_until(lambda: open_read_pipe(tmp_path / "slow")), "w") as slow:
                progresskit.cancel("stopped")
                slow.write("more")
            assert process.wait(60) == 0
        last = done("stopped")
        assert (last.state, last.current, last.stopped_early) == (State.CANCELLED, 2, False)


@runs("flask_factory.py")
def test_the_factory_makes_an_app_with_its_settings() -> None:
    app = load("flask_factory.py").create_app()
    assert default_kit.default().settings.max_streams == 4
    for _ in progresskit.track("abc", id="job"):
        pass
    client = app.test_client()
    page = client.get("/jobs/job").text
    assert " cancel>" in page
    assert client.get(address(page)).json["percent"] == 100


DJANGO = """
import re, time
import django
django.setup()
from django.test import Client
from django_site import views
import progresskit

views.sleep = lambda seconds: time.sleep(seconds / 20)
page = Client().get("/").content.decode()
source = re.findall('<progress-bar src="([^"]+)" cancel>', page)[0]
while (answer := Client().get(source)).status_code == 404:
    time.sleep(0.01)
*_, last = progresskit.watch(answer.json()["id"])
answer = Client().get(source).json()
print(answer["state"], answer["percent"], progresskit.default_kit.default().settings.max_streams)
"""


@runs("django_site/settings.py", "django_site/urls.py", "django_site/views.py", "django_site/templates/job.html")
def test_the_django_site_shows_a_job(tmp_path: Path) -> None:
    copied(tmp_path, "django_site")
    assert python("-c", DJANGO, cwd=tmp_path, DJANGO_SETTINGS_MODULE="django_site.settings") == "succeeded 100 4\n"
    assert (tmp_path / "django_site" / "progress.db").exists()


@runs("plain_wsgi.py")
def test_a_shim_for_plain_wsgi_serves_records_streams_and_refusals() -> None:
    from werkzeug.test import Client

    progresskit.configure("memory://", secret_key="a long random string")
    client = Client(load("plain_wsgi.py").application)
    with progresskit.observe("job", total=4) as observer:
        observer.advance(4)
    key = sign("job")
    assert '"state":"succeeded"' in client.get(f"/{key}/").text
    assert "event: progress\ndata: {" in client.get(f"/{key}/events/").text
    assert client.get("/job/").status == "404 Not Found"


TUTORIAL = """
import re, time
import web
import progresskit

client = web.app.test_client()
page = client.post("/", follow_redirects=True).text
source = re.findall('<progress-bar src="([^"]+)" cancel>', page)[0]
while (answer := client.get(source)).status_code == 404:  # it is told in a moment
    time.sleep(0.01)
*_, last = progresskit.watch(answer.json["id"])
record = client.get(source).json
print(last.state, record["current"], record["total"], record["kind"])
"""


@runs("tutorial/tasks.py", "tutorial/web.py")
def test_the_tutorial_ends_with_a_page_and_a_worker(tmp_path: Path) -> None:
    folder = copied(tmp_path, "tutorial")
    (folder / "people.csv").write_text("".join(f"{n},person {n}\r\n" for n in range(20)))
    with start_worker(folder, app="tasks", concurrency=1) as worker:
        assert python("-c", TUTORIAL, cwd=folder) == "succeeded 20 20 tasks.import_rows\n"
        worker.kill()  # no need to wait for what it does at its end


LOGS = ("0.25\n" * 50, "0.5\n" * 70, "0.75\n" * 90)


@runs(*(f"tutorial_parts/{name}.py" for name in ("pack", "pack_in_steps", "tasks", "start")))
def test_the_tutorial_of_parts_packs_in_one_loop_in_steps_and_on_two_processes(tmp_path: Path) -> None:
    folder = copied(tmp_path, "tutorial_parts")
    (folder / "logs").mkdir()
    for number in range(21):
        (folder / "logs" / f"{number:03}.log").write_text(LOGS[number % 3])
    progresskit.configure(f"sqlite:///{folder}/progress.db")
    python("pack.py", cwd=folder)
    python("pack_in_steps.py", cwd=folder)
    assert (done("pack-1").state, done("pack-1").current) == (State.SUCCEEDED, 21)
    steps = done("pack-2").steps or ()
    assert [(step.name, step.state.value) for step in steps] == [("Pack", "succeeded"), ("Check", "succeeded")]
    with start_worker(folder, app="tasks", concurrency=2) as worker:
        id = python("start.py", cwd=folder).strip()
        last = done(id)
        worker.kill()  # no need to wait for what it does at its end
    assert (last.state, last.current, last.parts) == (State.SUCCEEDED, 3, (3, 3, 0, 0, 0))
    assert len([*folder.glob("logs/*.xz")]) == 21


# Workers.


@runs("threads.py")
def test_threads_report_to_the_job_around_them() -> None:
    assert load("threads.py").fetch_all(["a", "bb", "ccc"], "job") == 6
    assert progresskit.get("job").current == 3  # type: ignore[union-attr]


PROCESSES = """
import processes
processes.setup()
print(processes.count_results(range(1000), "squares"))
processes.resize_all(["a", "b"], "{url}")
"""


@runs("processes.py")
def test_processes_are_counted_where_results_arrive_or_have_jobs_of_their_own(tmp_path: Path) -> None:
    copied(tmp_path, "processes.py")
    url = f"sqlite:///{tmp_path}/progress.db"
    assert python("-c", PROCESSES.format(url=url), cwd=tmp_path) == f"{sum(n * n for n in range(1000))}\n"
    kit = progresskit.Kit(url)
    found = {progress.id: (progress.state, progress.current) for progress in kit.list()}
    kit.close()
    assert found == {
        "squares": (State.SUCCEEDED, 1000),
        "resize-a": (State.SUCCEEDED, 10),
        "resize-b": (State.SUCCEEDED, 10),
    }


@runs("pools.py")
def test_the_processes_of_a_pool_count_for_the_job_of_their_parent(tmp_path: Path) -> None:
    copied(tmp_path, "pools.py")
    python("pools.py", cwd=tmp_path)
    kit = progresskit.Kit(f"sqlite:///{tmp_path}/progress.db")
    last = kit.get("books")
    kit.close()
    assert last is not None
    assert (last.state, last.current, last.total) == (State.SUCCEEDED, 370, 370)


@runs("checksums.sh")
def test_a_script_of_the_shell_runs_itself_as_a_job(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/progress.db"
    progresskit.configure(url)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for files, code in (("a.txt", "b.txt"), 0), (("a.txt", "missing.txt", "b.txt"), 1):
        for file in {*files} - {"missing.txt"}:
            (tmp_path / file).write_text(file)
        finished = subprocess.run(
            [EXAMPLES / "checksums.sh", "checksums-1", *files],
            env=os.environ | {"PATH": path, "PROGRESSKIT_URL": url},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            check=False,
        )
        assert finished.returncode == code
        record = done("checksums-1")
        assert (record.kind, record.unit, record.total) == ("checksums", "files", len(files))
        assert (record.current, record.error and record.error.message) == ((2, None), (1, "exit code 1"))[code]


@runs("asyncio_job.py")
def test_asyncio_reports_and_watches(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(load("asyncio_job.py").main())
    assert capsys.readouterr().out.splitlines()[-1] == "20 succeeded"
    assert progresskit.get("read-1").current == 5  # type: ignore[union-attr]


@runs("any_queue.py")
def test_any_queue_shows_jobs_that_wait_run_and_are_cancelled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where Celery was installed in this process before, it would take the waiting job for a task of its own.
    monkeypatch.setattr(progresskit.default_kit.default(), "_cancellers", ())
    example, queue = load("any_queue.py"), list[tuple[Any, ...]]()
    for id in ("good", "cancelled"):
        example.send(example.import_rows, id, [1, 2, 3], enqueue=lambda *call: queue.append(call))
    progresskit.flush()
    assert {state_of(id) for id in ("good", "cancelled")} == {State.PENDING}
    progresskit.cancel("cancelled")
    for function, id, *arguments in queue:
        function(id, arguments[0] if id == "good" else iter(lambda: 0, 1))
    assert (state_of("good"), state_of("cancelled")) == (State.SUCCEEDED, State.CANCELLED)
    assert progresskit.get("good").kind == "import_rows"  # type: ignore[union-attr]
    assert capsys.readouterr().out.startswith("1\n2\n3\n")


@runs("rq_app.py")
def test_each_job_of_rq_is_one_of_progresskit(
    needs: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs("redis")
    queue_url, url = server("redis").fresh(), server("redis").fresh()
    monkeypatch.setenv("REDIS_URL", queue_url)
    progresskit.configure(url)
    import rq_app  # type: ignore[import-not-found]

    job = rq_app.queue.enqueue(rq_app.import_rows, ["a", "b"])
    worker = ["-m", "rq.cli", "worker", "--burst", "--url", queue_url, "-w", "progresskit_rq.Worker"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), *sys.path]), "PROGRESSKIT_URL": url}
    subprocess.run([sys.executable, *worker], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    assert (done(job.id).kind, done(job.id).current) == ("rq_app.import_rows", 2)


@runs("procrastinate_app.py")
def test_each_job_of_procrastinate_is_one_of_progresskit(
    needs: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needs("postgresql")
    url = server("postgresql").fresh()
    monkeypatch.setenv("DATABASE_URL", url.replace("+psycopg", ""))
    progresskit.configure(url)
    app = load("procrastinate_app.py").app
    with app.open():
        app.schema_manager.apply_schema()
        id = app.configure_task("procrastinate_app.import_rows").defer(rows=["a", "b"])
    worker = ["-m", "procrastinate", "--app=procrastinate_app.app", "worker", "--one-shot"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(EXAMPLES), *sys.path]), "PROGRESSKIT_URL": url}
    subprocess.run([sys.executable, *worker], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    assert (done(id).kind, done(id).current) == ("procrastinate_app.import_rows", 2)


@runs("arq_app.py")
def test_each_job_of_arq_is_one_of_progresskit(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    url = server("redis").fresh()
    env = {"REDIS_URL": server("redis").fresh(), "PROGRESSKIT_URL": url, "PYTHONPATH": str(EXAMPLES)}
    progresskit.configure(url)
    id = python(str(EXAMPLES / "arq_app.py"), cwd=tmp_path, **env).strip()
    assert state_of(id) is State.PENDING
    python("-m", "arq", "arq_app.WorkerSettings", "--burst", cwd=tmp_path, **env)
    assert (done(id).kind, done(id).current) == ("import_rows", 2)


@runs("taskiq_app.py")
def test_each_task_of_taskiq_is_a_job(needs: Callable[[str], None], tmp_path: Path) -> None:
    needs("redis")
    url = server("redis").fresh()
    env = {"REDIS_URL": server("redis").fresh(), "PROGRESSKIT_URL": url, "PYTHONPATH": str(EXAMPLES)}
    progresskit.configure(url)
    id = python("-c", "import asyncio, taskiq_app; asyncio.run(taskiq_app.main())", cwd=tmp_path, **env).strip()
    assert state_of(id) is State.PENDING
    command = [sys.executable, "-m", "taskiq", "worker", "taskiq_app:broker", "--workers=1"]
    worker = Process(command, tmp_path, env=os.environ | env)
    try:
        last = done(id)
    finally:
        worker.kill()
    assert (last.kind, last.current) == ("taskiq_app:import_rows", 2)


@runs("dramatiq_app.py", "huey_app.py")
@pytest.mark.parametrize(
    ("name", "send", "command"),
    [
        ("dramatiq_app", "import_rows.send(['a', 'b']).message_id", ("dramatiq", "dramatiq_app", "--processes=1")),
        ("huey_app", "import_rows(['a', 'b']).id", ("huey.bin.huey_consumer", "huey_app.huey")),
    ],
)
def test_each_task_of_dramatiq_and_huey_is_a_job(
    name: str, send: str, command: tuple[str, ...], needs: Callable[[str], None], tmp_path: Path
) -> None:
    needs("redis")
    url = server("redis").fresh()
    paths = os.pathsep.join([str(EXAMPLES), *sys.path])
    env = {"REDIS_URL": server("redis").fresh(), "PROGRESSKIT_URL": url, "PYTHONPATH": paths}
    progresskit.configure(url)
    id = python("-c", f"import {name}; print({name}.{send})", cwd=EXAMPLES, **env).strip()
    assert state_of(id) is State.PENDING
    worker = Process([sys.executable, "-m", *command], tmp_path, env=os.environ | env)
    try:
        last = done(id)
    finally:
        worker.kill()
    assert (last.kind, last.current) == ("import_rows", 2)


SEND_TO_DJANGO = (
    "import django; django.setup(); from django_worker.tasks import index; print(index.enqueue(['a', 'b']).id)"
)


@runs("django_worker/settings.py", "django_worker/tasks.py")
def test_each_task_of_django_is_a_job(tmp_path: Path) -> None:
    copied(tmp_path, "django_worker")
    url = f"sqlite:///{tmp_path}/progress.db"
    env = {"DJANGO_SETTINGS_MODULE": "django_worker.settings", "PROGRESSKIT_URL": url}
    progresskit.configure(url)
    python("-m", "django", "migrate", cwd=tmp_path, **env)
    id = python("-c", SEND_TO_DJANGO, cwd=tmp_path, **env).strip()
    assert state_of(id) is State.PENDING
    python("-m", "django", "db_worker", "--batch", "--no-startup-delay", cwd=tmp_path, **env)
    assert (done(id).kind, done(id).current) == ("django_worker.tasks.index", 2)


@runs("own_queue.py", "own_queue_progress.py")
def test_a_queue_with_hooks_shows_the_whole_life_of_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progresskit.default_kit.default(), "_cancellers", ())
    own_queue, integration = load("own_queue.py"), load("own_queue_progress.py")
    queue = own_queue.Queue()
    queue.middleware = integration.ProgressMiddleware(queue)
    states, sent = list[str](), list[str]()

    def task(attempts: int = 1, error: Exception | None = None) -> str:
        job = progresskit.current()
        states.append(f"{job.progress.state} {job.progress.attempt}")
        progresskit.flush()
        if job.progress.attempt < attempts:
            raise integration.Retry
        if error is not None:
            raise error
        return "result"

    def sends() -> None:
        sent.append(queue.send(task))

    def stops() -> None:
        progresskit.cancel(progresskit.current().id)
        for _ in iter(lambda: time.sleep(0.01), 1):
            progresskit.current().advance()

    good = queue.send(task, headers=owned_by("ada"))
    again, bad = queue.send(task, 3), queue.send(task, 1, ValueError("no"))
    parent, running, waiting = queue.send(sends, headers=owned_by("ada")), queue.send(stops), queue.send(task)
    progresskit.flush()
    assert {state_of(id) for id in (good, again, bad, parent, running, waiting)} == {State.PENDING}
    assert progresskit.cancel(waiting)
    assert done(waiting).state is State.CANCELLED
    queue.work()

    assert states == ["running 1", "running 1", "running 1", "running 2", "running 1", "running 3"]
    ended = {id: progresskit.get(id) for id in (good, again, bad, parent, running, *sent)}
    assert [record and record.state for record in ended.values()] == [
        State.SUCCEEDED, State.SUCCEEDED, State.FAILED, State.SUCCEEDED, State.CANCELLED, State.SUCCEEDED
    ]  # fmt: skip
    assert [record and record.owner for record in ended.values()] == ["ada", None, None, "ada", None, "ada"]
    assert queue.results == {good: "result", again: "result", parent: None, sent[0]: "result"}


def state_of(id: str) -> State:
    progress = progresskit.get(id)
    assert progress is not None
    return progress.state


@runs("cancel.py")
def test_each_way_to_stop_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    example, endless = load("cancel.py"), Endless()
    ways = {"rows": example.count_rows, "convert": example.convert, "halfway": example.convert_halfway}
    threads = [Thread(target=swallowing, args=(way, id, endless)) for id, way in ways.items()]
    for thread in threads:
        thread.start()
    for id in ways:
        next(iter(progresskit.watch(id)))
        assert progresskit.cancel(id)
    assert {id: done(id).state for id in ways} == {
        "rows": State.CANCELLED,
        "convert": State.CANCELLED,
        "halfway": State.SUCCEEDED,
    }
    for thread in threads:
        thread.join()


class Endless:
    """Steps without an end."""

    def __len__(self) -> int:
        return 1_000_000

    def __iter__(self) -> Iterator[Callable[[], None]]:
        while True:
            yield lambda: time.sleep(0.01)


def swallowing(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except progresskit.Cancelled:
        pass


# Tests.


TESTS = ("importing.py", "test_importing.py", "file_backend.py", "test_file_backend.py")


def passed(folder: Path, *tests: str) -> int:
    """Run tests with a pytest that has no more than what they need; return how many there were."""
    options = ("-q", "-c", os.devnull, "--rootdir", ".")
    output = python("-m", "pytest", *options, *tests, cwd=folder, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    found = re.search(r"(\d+) passed in", output)
    assert found
    assert "skipped" not in output
    return int(found[1])


@runs("falcon_progress.py", "test_falcon_progress.py")
def test_the_shim_for_falcon_passes_the_contract(tmp_path: Path) -> None:
    for name in ("falcon_progress.py", "test_falcon_progress.py"):
        copied(tmp_path, name)
    assert passed(tmp_path, "test_falcon_progress.py") > 150


@runs(*TESTS)
def test_the_tests_among_the_examples_pass(tmp_path: Path) -> None:
    for name in TESTS:
        copied(tmp_path, name)
    info = tmp_path / "file_backend-1.dist-info"  # as if the backend were a package that is installed
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: file-backend\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[progresskit.backends]\njsonfile = file_backend:FileBackend\n")
    assert passed(tmp_path, *TESTS[1::2]) > 60
