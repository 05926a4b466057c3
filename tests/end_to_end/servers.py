"""
Real server processes of the sites, beside a real Celery worker, and a look at what each of them did.

Whatever is started here is ended here, by the object that was returned for it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from progresskit import Kit, Progress, ProgressObserver
from tests.adapters.celery.worker import Worker, environment, start_worker
from tests.services.ports import free_port
from tests.services.waiting import wait_until

APPS = "tests.end_to_end.apps"
POOL = 2
"""How many tasks a worker has in hand at once."""

START_SECONDS = 120
"""A busy machine takes half a minute to start a server that loads Django in each of its processes."""

ANSWER_SECONDS = STORE_SECONDS = 60

KINDS = ("django-wsgi", "django-asgi", "flask")

DJANGO, DJANGO_ASGI = f"{APPS}.django_site.wsgi:application", f"{APPS}.django_site.asgi:application"
BESIDE_DJANGO, FLASK = f"{APPS}.django_site.asgi:with_progress_in_front", f"{APPS}.flask_site.wsgi:app"

# It kills a worker that says nothing for half a minute by default, be it only that a busy machine loads Django so long.
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:{port}", "--timeout", "600"]

COMMANDS: dict[str, list[str]] = {
    "django-wsgi": [
        "django",
        "runserver",
        "--noreload",
        "--settings",
        f"{APPS}.django_site.settings",
        "127.0.0.1:{port}",
    ],
    "django-asgi": ["uvicorn", DJANGO_ASGI, "--port", "{port}", "--lifespan", "off"],
    "flask": ["flask", "--app", f"{APPS}.flask_site.wsgi", "run", "--no-reload", "--no-debugger", "--port", "{port}"],
    "gunicorn-sync": [*GUNICORN, DJANGO],
    "gunicorn-threads": [*GUNICORN, "--threads", "4", DJANGO],
    "gunicorn-2x4": [*GUNICORN, "--workers", "2", "--threads", "4", DJANGO],
    "gunicorn-gevent": [*GUNICORN, "--worker-class", "gevent", FLASK],
    "uvicorn": ["uvicorn", "--port", "{port}", BESIDE_DJANGO],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", BESIDE_DJANGO],
    "granian-django": ["granian", "--interface", "asgi", "--port", "{port}", DJANGO_ASGI],
    "granian-wsgi": ["granian", "--interface", "wsgi", "--port", "{port}", FLASK],
    "serve": ["progresskit", "serve", "--port", "{port}"],
}
"""How a user starts them; `runserver` and `flask run` have a thread for each request."""


class Asked(NamedTuple):
    """A request that reached a server."""

    time: float
    method: str
    path: str
    query: str

    @property
    def is_stream(self) -> bool:
        return self.path.startswith("/progress/") and self.path.endswith("/events/")


class Servers:
    """The folder that a worker and sites share, with the broker's files and, unless told, the progress in it."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/progress.db"
        for name in ("gates", "starts"):
            (folder / name).mkdir()
        self.kit = Kit(self.url)

    def start_worker(self, *, name: str = "worker", lease: float = 30) -> Worker:
        return start_worker(
            self.folder,
            app=f"{APPS}.tasks",
            concurrency=POOL,
            env={"PROGRESSKIT_LEASE": str(lease), "SERVERS_FOLDER": str(self.folder)},
            name=name,
        )

    @contextmanager
    def job(self, total: int) -> Iterator[tuple[str, ProgressObserver]]:
        """Run a job in this process, and give its id and its observer once it is stored."""
        id = f"job-{uuid4().hex[:8]}"
        with self.kit.observe(id, total=total) as observer:
            self.kit.flush(STORE_SECONDS)
            yield id, observer

    def get(self, id: str) -> Progress | None:
        return self.kit.get(id)

    def record(self, id: str) -> Progress:
        """Return the record of a job that is known."""
        record = self.get(id)
        assert record is not None, f"{id} is not known"
        return record

    def await_step(self, id: str, step: float) -> Progress:
        """Return the job's record once it has come so far."""
        return self.await_job(id, f"step {step}", lambda record: record.current == step)

    def await_job(self, id: str, what: str, condition: Callable[[Progress], bool]) -> Progress:
        """Return the job's record once it is as the condition wants it."""

        def found() -> Progress | None:
            record = self.get(id)
            return record if record is not None and condition(record) else None

        record = wait_until(found, f"{what} of {id}")
        assert record is not None
        return record

    def open_gate(self, id: str, number: int) -> None:
        """Let the task go on until it has done so many steps."""
        gate = self.folder / "gates" / id
        gate.with_suffix(".new").write_text(str(number))
        gate.with_suffix(".new").rename(gate)

    def starts(self, id: str) -> list[int]:
        """Return the process of each start of a task."""
        try:
            return [int(pid) for pid in (self.folder / "starts" / id).read_text().split()]
        except FileNotFoundError:
            return []

    def celery_state(self, id: str) -> str | None:
        """Return what Celery has stored of a task."""
        try:
            state: str = json.loads((self.folder / "results" / f"celery-task-meta-{id}").read_text())["status"]
        except (FileNotFoundError, json.JSONDecodeError):  # it is not there, or being written
            return None
        return state


class Site:
    """A site and its server process, which may be killed and started again."""

    def __init__(self, servers: Servers, kind: str, **settings: Any) -> None:
        self.servers, self.kind, self.settings = servers, kind, settings
        self.name = kind if settings.get("MAX_STREAMS") != 0 else f"{kind}-without-streams"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.secret = f"the secret of the site at port {self.port}"
        self.streams = settings.get("MAX_STREAMS") != 0
        self._log = servers.folder / f"{self.name}-{self.port}.requests"
        self._output = servers.folder / f"{self.name}-{self.port}.output"
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return self.name

    def start(self) -> None:
        """Start the server and return when it answers."""
        command = [part.format(port=self.port) for part in COMMANDS[self.kind]]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.servers.folder,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, f"{self} answers", START_SECONDS, step=0.05)
        except BaseException:
            self.kill()
            raise

    def environment(self) -> dict[str, str]:
        """Return the environment of the server."""
        env = environment(
            self.servers.folder,
            SERVERS_FOLDER=str(self.servers.folder),
            SITE_PROGRESS=self.servers.url,
            SITE_SETTINGS=json.dumps(self.settings),
            SITE_SECRET=self.secret,
            SITE_LOG=str(self._log),
        )
        del env["PROGRESSKIT_URL"]  # the framework's settings have it
        return env

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server has ended:\n{self.output()}"
        try:
            return httpx.get(f"{self.url}/progress/openapi.json", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End the server, with all its processes, by SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def terminate(self) -> int:
        """Ask the server to end, by SIGTERM, and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(START_SECONDS)

    def output(self) -> str:
        """Return what the server has printed."""
        return self._output.read_text(errors="replace")

    def requests(self, since: float = 0, until: float = math.inf) -> list[Asked]:
        """Return the access log between two times."""
        asked = [Asked(**json.loads(line)) for line in self._log.read_text().splitlines()]
        return [one for one in asked if since <= one.time < until]

    def start_task(self, task: str, *arguments: Any, id: str | None = None) -> str:
        """Have the site send a task, and return its id."""
        id = id or f"{task}-{uuid4().hex[:8]}"
        asked = {"task": task, "arguments": arguments, "id": id}
        response = httpx.post(f"{self.url}/start/", json=asked, timeout=ANSWER_SECONDS)
        assert response.status_code == 202, f"{self}: {response.status_code}\n{self.output()}"
        return id

    def page(self, *ids: str, watch_only: bool = False) -> str:
        """Return the address of the page that shows these jobs."""
        query = "&".join([f"id={id}" for id in ids] + ["watch"] * watch_only)
        return f"{self.url}/jobs/?{query}"

    def keys(self, *ids: str, watch_only: bool = False) -> list[str]:
        """Return the keys that the page of these jobs has."""
        html = httpx.get(self.page(*ids, watch_only=watch_only), timeout=ANSWER_SECONDS).text
        return [part.partition('/"')[0] for part in html.split('src="/progress/') if part.startswith("~")]


class Serve(Site):
    """`progresskit serve`, beside the site that makes the pages."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.servers, "serve")
        self.secret = site.secret

    def environment(self) -> dict[str, str]:
        """Return the environment of the server."""
        shared = {"PROGRESSKIT_URL": self.servers.url, "PROGRESSKIT_SECRET_KEY": self.secret}
        shared["PROGRESSKIT_ALLOWED_HOSTS"] = "progress"  # so nginx calls several of them, unless told otherwise
        return environment(self.servers.folder, **shared)


@contextmanager
def running(*sites: Site) -> Iterator[None]:
    """Start the sites together, and kill them at the end."""
    try:
        together(Site.start, *sites)
        yield
    finally:
        for site in sites:
            site.kill()


def together(act: Callable[[Site], None], *sites: Site) -> None:
    """Do so with all the sites at once."""
    with ThreadPoolExecutor(len(sites)) as threads:
        list(threads.map(act, sites))


def kill(pid: int) -> None:
    """Kill a process of a worker's pool."""
    os.kill(pid, signal.SIGKILL)


def pause(seconds: float) -> None:
    """Let time pass: that of a step or an outage, or one in which no request is to come, as is asserted afterwards."""
    time.sleep(seconds)
