"""A Celery app such as a user would write, with tasks of all kinds; run by real workers in the tests."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from celery import Celery, Task, group, shared_task, signals
from celery.exceptions import Ignore, Reject

import progresskit
import progresskit_celery
from tests.services.steady_broker import steady_transport

app = Celery("proj")
if "PROJ_BARE" not in os.environ:
    progresskit_celery.install(app, ignore=["proj.secret"])
app.conf.update(json.loads(os.environ["PROJ_CONFIGURATION"]))
if app.conf.broker_url.startswith("filesystem"):
    app.conf.broker_transport = steady_transport()


def wait(gate: str | None) -> None:
    """Go on when the test makes the file."""
    while gate is not None and not Path(gate).exists():
        time.sleep(0.005)


def work(n: int) -> int:
    """Be the part of a library that knows of no task."""
    return sum(1 for _ in progresskit.track(range(n), description="Working"))


@app.task
def hold(gate: str) -> None:
    wait(gate)


@app.task
def steps(n: int, gate: str | None = None) -> int:
    job = progresskit.current()
    job.set_progress(n // 2, n, "Half")
    wait(gate)
    job.set_progress(n)
    return n


# The kinds of tasks.


def twice(function: Callable[[int], int]) -> Callable[[int], int]:
    @wraps(function)
    def doubled(n: int) -> int:
        return 2 * function(n)

    return doubled


@app.task
def plain(n: int) -> int:
    return work(n)


@app.task
@twice
def decorated(n: int) -> int:
    return work(n)


@app.task(bind=True)
def bound(self: Task, n: int) -> int:
    assert self.request.id == progresskit.current().id
    return work(n)


@app.task(autoretry_for=(Exception,), default_retry_delay=0.2)
def autoretry(n: int) -> int:
    return work(n)


class Based(Task):  # type: ignore[misc, unused-ignore]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


@app.task(base=Based)
def based(n: int) -> int:
    return work(n)


class Classy(Task):  # type: ignore[misc, unused-ignore]
    name = "proj.classy"

    def run(self, n: int) -> int:
        return work(n)


app.register_task(Classy())


@shared_task
def shared(n: int) -> int:
    return work(n)


@app.task(bind=True)
def classic(self: Task, n: int) -> None:
    observer = progresskit_celery.ProgressObserver(self)
    for i in range(n):
        observer.set_progress(i + 1, n, "reading")


# How they end.


@app.task
def fails() -> None:
    progresskit.current().set_progress(29, 100)
    raise ValueError("no such row")


@app.task
def fails_inside() -> None:
    with progresskit.observe(total=100) as observer:
        observer.advance(29)
        raise ValueError("no such row")


@app.task(bind=True, max_retries=1)
def retries_inside(self: Task, seconds: float, child: str | None = None, gate: str | None = None) -> None:
    with progresskit.observe(child, total=10) as observer:
        observer.advance(3 + self.request.retries)
        if not self.request.retries:
            raise self.retry(countdown=seconds)
        wait(gate)


@app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 1, "countdown": 0})
def flaky() -> None:
    raise OSError("the disk is gone")


@app.task
def ignores() -> None:
    raise Ignore


def first_time(mark: str) -> bool:
    """Return whether nobody has asked before; not every broker tells that a message was delivered already."""
    path = Path(mark)
    seen = path.exists()
    path.touch()
    return not seen


@app.task(acks_late=True)
def rejects(mark: str | None = None, gate: str | None = None) -> None:
    if mark is None or first_time(mark):
        raise Reject("not now", requeue=mark is not None)
    wait(gate)


@app.task(bind=True)
def replaced(self: Task, n: int) -> Any:
    return self.replace(plain.si(n) | plain.si(n + 1))


@app.task(bind=True)
def replaced_by_chord(self: Task, n: int) -> Any:
    return self.replace(plain.si(n) | group(plain.si(n), plain.si(n + 1)) | gathered.si())


@app.task(bind=True)
def replaced_by_failure(self: Task) -> Any:
    return self.replace(fails.si() | plain.si(1))


@app.task
def gathered(*results: Any) -> int:
    """Be the body of a chord, or the next step of a chain."""
    return len(results)


@app.task
def sends(n: int) -> None:
    """Send a task that is none of the canvas."""
    plain.delay(n)


@app.task(time_limit=1)
def overruns_hard() -> None:
    progresskit.current().set_progress(1, 2)
    time.sleep(600)


@app.task
def exits() -> None:
    sys.exit(3)


@app.task
def overruns() -> None:
    """Be seen before the limit comes: who looks at the clock is stopped until the test lets it go on."""
    os.kill(os.getppid(), signal.SIGSTOP)
    progresskit.current().set_progress(1, 2)
    time.sleep(600)


@app.task(acks_late=True)
def dies(gate: str | None = None) -> None:
    progresskit.current().set_progress(1, 2)
    progresskit.flush()
    wait(gate)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, reject_on_worker_lost=True)
def dies_once(mark: str) -> None:
    progresskit.flush()
    if first_time(mark):
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True)
def acknowledges_late(gate: str) -> None:
    progresskit.current().set_progress(1, 2)
    wait(gate)


@app.task
def secret() -> None:
    """Be none of the kit's jobs."""


# What can be stopped.


@app.task(autoretry_for=(Exception,))
def tracks() -> None:
    for _ in progresskit.track(range(1_000_000)):
        time.sleep(0.005)


@app.task(bind=True, autoretry_for=(Exception,))
def advances(self: Task) -> None:
    observer = progresskit_celery.ProgressObserver(self)
    while True:
        observer.advance()
        time.sleep(0.005)


@app.task
def advances_child(child: str) -> None:
    with progresskit.observe(child, cancellable=True) as observer:
        while True:
            observer.advance()
            time.sleep(0.005)


@app.task
def advances_stubbornly(gate: str) -> int:
    job = progresskit.current()
    while not Path(gate).exists():
        job.advance()
        time.sleep(0.005)
    return 1


advances_stubbornly.progress_cancellable = False


# What a fork inherits: with PROJ_PARENT_JOB a job is live in the worker's main process before there is a pool.


@signals.worker_init.connect(weak=False)
def _open_parent_job(**_: Any) -> None:
    if "PROJ_PARENT_JOB" in os.environ:
        job = progresskit.observe(os.environ["PROJ_PARENT_JOB"], total=2)
        job.advance()
        progresskit.flush()
        assert descriptors(), "the parent has no connection that could be inherited"
        _live.append(job)


_live: list[progresskit.ProgressObserver] = []
_inherited: list[str] = []


@signals.worker_process_init.connect(weak=False)
def _look_what_is_inherited(**_: Any) -> None:
    _inherited.extend(descriptors())


def descriptors() -> list[str]:
    """Return the open files of this process that belong to the database of the progress."""
    database = progresskit.default_kit.default().settings.url.removeprefix("sqlite:///")
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    return [link for link in links if link.startswith(database)]


@app.task
def inherited() -> list[Any]:
    """Return this process and the connections it had when it began; and report, so that it makes its own."""
    work(10)
    progresskit.flush()
    assert descriptors()
    return [os.getpid(), _inherited]


app.finalize()


@app.task
def late(n: int) -> int:
    return work(n)
