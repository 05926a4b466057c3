"""The Celery app of the sites. Where a test has to be in the middle of a task, the task waits for it at a gate."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

import progresskit
import progresskit_celery
from tests.services.steady_broker import steady_transport

FOLDER = Path(os.environ["SERVERS_FOLDER"])
LONGEST_SECONDS = 600
"""No task is longer, so that none stays behind whatever becomes of its test."""

RETRY_SECONDS = 8
"""Long enough to be seen on the pages of a busy machine before it is over."""

app = Celery("end-to-end")
app.conf.update(json.loads(os.environ["PROJ_CONFIGURATION"]))
if app.conf.broker_url.startswith("filesystem"):
    app.conf.broker_transport = steady_transport()
progresskit_celery.install(app)


def pass_gate(id: str, number: int) -> None:
    """Return when the test has opened the gate for so many."""
    gate = FOLDER / "gates" / id
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        try:
            if int(gate.read_text() or 0) >= number:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"nobody has opened gate {number} of {id}")


def note_start(id: str) -> None:
    with (FOLDER / "starts" / id).open("a") as starts:
        starts.write(f"{os.getpid()}\n")


@app.task(bind=True)
def steps(self: Any, total: int) -> int:
    """Go as far as the gate is open."""
    for number in progresskit.track(range(1, total + 1), unit="steps", description="Stepping"):
        pass_gate(self.request.id, number)
    return total


@app.task(bind=True)
def busy(self: Any) -> None:
    """Report all the time."""
    note_start(self.request.id)
    job = progresskit.current()
    job.update(total=LONGEST_SECONDS * 100, description="Busy")
    for _ in range(LONGEST_SECONDS * 100):
        time.sleep(0.01)
        job.advance()


@app.task(bind=True)
def quiet(self: Any) -> None:
    """Report once, and then nothing for as long as the gate is shut."""
    note_start(self.request.id)
    progresskit.current().set_progress(3, 10, "Quiet")
    pass_gate(self.request.id, 1)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def redelivered(self: Any) -> None:
    """Be as `quiet`, and begin again where the process is lost."""
    note_start(self.request.id)
    progresskit.current().set_progress(3, 10, "Quiet")
    pass_gate(self.request.id, 1)


@app.task(bind=True)
def tracked_loop(self: Any) -> None:
    """Loop for long, without a word about cancelling."""
    note_start(self.request.id)
    for _ in progresskit.track(range(LONGEST_SECONDS * 100), description="Tracking"):
        time.sleep(0.01)


@app.task(bind=True, autoretry_for=(Exception,), max_retries=3)
def advancing_loop(self: Any) -> None:
    """Do so as people do: what goes wrong with one row is no reason to stop."""
    note_start(self.request.id)
    with progresskit.observe(total=LONGEST_SECONDS * 100, description="Advancing") as observer:
        for _ in range(LONGEST_SECONDS * 100):
            try:
                time.sleep(0.01)
                observer.advance()
            except Exception:
                continue


@app.task
def failing_after_a_block() -> None:
    """End an inner block well, and the task badly."""
    with progresskit.observe(total=2, description="Reading") as observer:
        observer.advance(2)
    raise ValueError("the secret of the servers")


@app.task(bind=True, max_retries=1)
def retrying_in_a_block(self: Any) -> None:
    """Ask for another attempt from within a block; make that one when the gate is open."""
    with progresskit.observe(total=4, description="Reading") as observer:
        observer.advance()
        if not self.request.retries:
            raise self.retry(countdown=RETRY_SECONDS)
        pass_gate(self.request.id, 1)
        observer.advance(3)


@app.task(acks_late=True)
def piece(steps: int) -> int:
    """Be one of many tasks that are parts of a job."""
    for _ in progresskit.track(range(steps), unit="steps"):
        time.sleep(0.01)
    return steps


@app.task(acks_late=True)
def failing_piece() -> None:
    """Fail half way."""
    progresskit.current().set_progress(1, 2)
    raise ValueError("the secret of the servers")


@app.task
def gathered(steps: list[int]) -> int:
    """Be the body of a chord."""
    return sum(steps)
