"""
Start a real Celery worker, in a folder that is nobody else's, and end it for certain.

    with start_worker(tmp_path, pool="threads") as worker:
        app = Celery("client")
        app.conf.update(configuration(tmp_path), broker_transport=steady_transport())
        app.send_task("proj.steps", (100,))

The broker and the results are files in the folder, the progress is a SQLite file there. Another process (a web server)
that is started with `worker.env` sees the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from tests.services.waiting import PATIENCE, wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
START_SECONDS = 120
STOP_SECONDS = 15

PATIENT = {"PROGRESSKIT_FLUSH_SECONDS": str(PATIENCE)}
"""The environment of a worker that stores what it flushes, however busy the machine is."""


def configuration(folder: Path) -> dict[str, object]:
    """Return the settings of a Celery app whose broker and results are files in the folder."""
    for part in ("queue", "processed", "control", "results"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return {
        "broker_url": "filesystem://",
        "broker_transport_options": {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "processed_folder": str(folder / "processed"),
            "control_folder": str(folder / "control"),
            "store_processed": True,
            "polling_interval": 0.1,
        },
        "result_backend": f"file://{folder}/results",
        "broker_connection_retry_on_startup": True,
        "worker_prefetch_multiplier": 1,
        "worker_lost_wait": 1.0,
        "worker_pool_putlocks": False,  # with it the worker hears nothing while the pool is busy
    }


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process that takes part: `proj` can be imported, and what it needs is in `folder`."""
    paths = [str(HERE / "app"), str(ROOT), str(ROOT / "adapters"), os.environ.get("PYTHONPATH", "")]
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PROJ_CONFIGURATION": json.dumps(configuration(folder)),
        "PROGRESSKIT_URL": f"sqlite:///{folder}/progress.db",
    }
    return {**os.environ, **ours, **more}


class Stalls:
    """Counts the seconds for which this process was kept from its work, by others or by whoever has stopped it."""

    STEP = 0.02

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = Event()
        self._thread = Thread(target=self._count, name="stalls")

    def _count(self) -> None:
        before = time.monotonic()
        while not self._over.wait(self.STEP):
            now = time.monotonic()
            self.seconds += now - before - self.STEP
            before = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


class Worker:
    """A worker's main process, which leads a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, env: dict[str, str], log: Path) -> None:
        self.process, self.folder, self.env, self.log = process, folder, env, log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """Where its progress is."""
        return self.env["PROGRESSKIT_URL"]

    def children(self) -> list[int]:
        """Return the ids of the processes of the pool; they are children of more than one thread."""
        found: list[int] = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(OSError):  # the thread is gone
                found += map(int, children.read_text().split())
        return sorted(found)

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def go_on(self) -> None:
        """Let the main process go on, which a task has stopped."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Let it finish what is running (a warm shutdown); kill it if that takes too long."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """End the worker and its pool at once."""
        try:
            # The group was made by `start_worker` and lives as long as one of its processes does.
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_worker(
    folder: Path,
    *,
    app: str = "proj",
    pool: str = "prefork",
    concurrency: int = 2,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    name: str = "worker",
) -> Worker:
    """
    Return a worker that is ready for tasks.

    `app` is what `celery -A` takes, `options` are more of `celery worker`. Several workers of one folder each need a
    `name` of their own.
    """
    whole = environment(folder, **(env or {}))
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "--pool", pool, "-c", str(concurrency)]
    command += ["-n", f"{name}@test", "-l", "INFO", "--without-gossip", "--without-mingle", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=whole, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    worker = Worker(process, folder, whole, log)
    try:
        wait_until(
            lambda: " ready." in worker.logged() or process.poll() is not None, "the worker is ready", START_SECONDS
        )
        assert process.poll() is None, f"the worker has ended:\n{worker.logged()}"
    except BaseException:
        worker.kill()
        raise
    return worker
