"""Two sites that differ in one name: one has celery-progress, the other progresskit in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4
from warnings import catch_warnings, simplefilter

import httpx
from celery import Celery, group
from websockets.sync.client import ClientConnection, connect

from tests.adapters.celery.worker import ROOT, Worker, start_worker
from tests.services import server
from tests.services.waiting import PATIENCE, wait_until

SITE = Path(__file__).parent / "site"
THEIRS, OURS = "celery_progress", "progresskit_celery_progress"


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads(self.body)
        return info


class Site:
    """A worker and a web server, with a Redis of their own, and this process, which sends tasks."""

    def __init__(
        self,
        folder: Path,
        package: str,
        *,
        installs: bool,
        url: str,
        authorize: str,
        redis: str,
        sockets: bool,
        layer: str,
    ) -> None:
        self.folder, self.package = folder, package
        self.settings = {
            "broker_url": redis,
            "result_backend": redis,
            "broker_connection_retry_on_startup": True,
            "worker_prefetch_multiplier": 1,
            "result_extended": True,
        }
        self.env = {
            "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT), str(ROOT / "adapters")]),
            "SITE_PACKAGE": package,
            "SITE_AUTHORIZE": authorize,
            "SITE_CELERY": json.dumps(self.settings),
            "SITE_FOLDER": str(folder),
            "SITE_LAYER": layer,
            "PROGRESSKIT_FLUSH_SECONDS": str(PATIENCE),  # a busy machine takes long for a first connection
            "PROGRESSKIT_URL": url,
        }
        self.env |= {name: "1" for name, wanted in (("SITE_INSTALLS", installs), ("SITE_SOCKETS", sockets)) if wanted}
        self.client = Celery("client", set_as_current=False)
        self.client.conf.update(self.settings)
        self.worker: Worker | None = None
        self.address = ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run the web server; give its address."""
        command = [sys.executable, str(SITE / "serve.py")]
        with (self.folder / "web.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=os.environ | self.env)
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip().decode()
            assert port, (self.folder / "web.log").read_text()
            self.address = f"http://127.0.0.1:{port}"
            yield self.address
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def start_worker(self, **how: Any) -> Worker:
        self.worker = start_worker(self.folder, app="shop", env=self.env, **how)
        return self.worker

    def send(self, task: str, *args: Any, id: str, **options: Any) -> Any:
        return self.client.send_task(f"shop.tasks.{task}", args, task_id=id, **options)

    def send_group(self, id: str, signatures: list[tuple[str, tuple[Any, ...]]]) -> Any:
        parts = (self.client.signature(f"shop.tasks.{task}", args) for task, args in signatures)
        result = group(parts, app=self.client).apply_async(task_id=id)
        with catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # Celery saves by a method that redis-py would like to lose
            result.save()
        return result

    def store(self, id: str, result: Any, state: str) -> None:
        """Tell Celery how a task stands, as a worker would."""
        with catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # as above
            self.client.backend.store_result(id, result, state)

    def get(self, path: str) -> Answer:
        response = httpx.get(f"{self.address}/celery-progress/{path}/", trust_env=False, verify=False, timeout=PATIENCE)
        return Answer(response.status_code, response.content)

    def socket(self, id: str, path: str = "progress", **how: Any) -> ClientConnection:
        """Return a WebSocket that is told of a task; close it."""
        address = f"{self.address.replace('http', 'ws')}/ws/{path}/{id}/"
        opened: ClientConnection = connect(address, proxy=None, open_timeout=PATIENCE, **how)
        return opened

    def until(self, path: str, seen: Callable[[dict[str, Any]], Any], seconds: float = PATIENCE) -> Answer:
        """Return the answer once it is as it should be."""
        last = Answer(0, b"")

        def found() -> Answer | None:
            nonlocal last
            last = self.get(path)
            return last if last.status == 200 and seen(last.info) else None

        try:
            answer = wait_until(found, "the answer comes", seconds)
        except TimeoutError as error:
            log = self.worker.logged()[-3000:] if self.worker else ""
            raise TimeoutError(f"{self.package}: {error}; it is {last}\n{log}") from None
        assert answer is not None
        return answer


@contextmanager
def running(
    folder: Path,
    package: str = OURS,
    *,
    installs: bool = False,
    url: str = "",
    authorize: str = "",
    worker: bool = True,
    redis: str | None = None,
    sockets: bool = False,
    layer: str = "",
    **how: Any,
) -> Iterator[Site]:
    """Give a site that runs."""
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(
        folder,
        package,
        installs=installs,
        url=url,
        authorize=authorize,
        redis=redis or server("redis").fresh(),
        sockets=sockets,
        layer=layer,
    )
    with ExitStack() as stack:
        stack.enter_context(site.serving())
        if worker:
            stack.callback(site.start_worker(**how).kill)
        yield site
        site.client.close()


class Pair:
    """The two sites, which are given the same tasks and asked the same."""

    def __init__(self, theirs: Site, ours: Site) -> None:
        self.theirs, self.ours = theirs, ours
        self._numbers = count(1)

    @property
    def both(self) -> tuple[Site, Site]:
        return self.theirs, self.ours

    def gate(self) -> Path:
        """Return a file that is not there; tasks of both that wait for it go on when the test makes it."""
        return self.ours.folder / f"gate-{next(self._numbers)}"

    def send(self, task: str, *args: Any, **options: Any) -> str:
        id = f"task-{uuid4()}"
        for site in self.both:
            site.send(task, *args, id=id, **options)
        return id

    def same(self, path: str, seen: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return what both answer, byte for byte, once it is as it should be."""
        theirs, ours = (site.until(path, seen) for site in self.both)
        assert ours == theirs
        return ours.info
