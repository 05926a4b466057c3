"""Tasks that come to each state there is; they wait for files that the test makes."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore
from celery.signals import before_task_publish

import progresskit

PACKAGE = os.environ["SITE_PACKAGE"]
if "SITE_SOCKETS" in os.environ:
    ProgressRecorder = import_module(f"{PACKAGE}.websockets.backend").WebSocketProgressRecorder
else:
    ProgressRecorder = import_module(f"{PACKAGE}.backend").ProgressRecorder


def wait(gate: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.005)


@shared_task(bind=True)
def reports(self: Any, gate: str, *steps: tuple[Any, ...]) -> dict[str, Any]:
    recorder = ProgressRecorder(self)
    for step in steps:
        recorder.set_progress(*step)
    wait(gate)
    return {"rows": len(steps), "name": "Zoë"}


@shared_task(bind=True)
def steps(self: Any, gate: str, *steps: tuple[Any, ...]) -> str:
    """Wait at a gate of its own after each report."""
    recorder = ProgressRecorder(self)
    for number, step in enumerate(steps, 1):
        recorder.set_progress(*step)
        wait(f"{gate}-{number}")
    return "<b>done</b>"


@shared_task(bind=True)
def reports_late(self: Any, gate: str) -> None:
    """Wait at a gate before the first report, and at another one after it."""
    recorder = ProgressRecorder(self)
    wait(f"{gate}-1")
    recorder.set_progress(1, 3, "one")
    wait(f"{gate}-2")


@shared_task(bind=True)
def counts(self: Any, gate: str, n: int) -> int:
    recorder = ProgressRecorder(self)
    for _ in range(n):
        recorder.increment_progress(description="counting")
    wait(gate)
    return n


@shared_task(bind=True)
def two_recorders(self: Any, gate: str) -> None:
    ProgressRecorder(self).set_progress(1, 4)
    ProgressRecorder(self).set_progress(2, 4, description="second")
    wait(gate)


@shared_task(bind=True)
def own_words(self: Any, gate: str, state: str, meta: Any) -> None:
    self.update_state(state=state, meta=meta)
    wait(gate)


@shared_task(bind=True)
def own_words_first(self: Any, gate: str, state: str) -> None:
    self.update_state(state=state, meta="its own")
    wait(f"{gate}-1")
    ProgressRecorder(self).set_progress(1, 3)
    wait(f"{gate}-2")


@shared_task(bind=True)
def fails(self: Any) -> None:
    ProgressRecorder(self).set_progress(1, 3)
    raise ValueError("no such row: <b>7</b>")


@shared_task(bind=True, max_retries=2)
def retries(self: Any, seconds: float, before: str, after: str) -> str:
    recorder = ProgressRecorder(self)
    if self.request.retries == 0:
        recorder.set_progress(1, 3)
        raise self.retry(countdown=seconds, exc=ValueError("the machine is away, and that is " + 10 * "very " + "sad"))
    wait(before)
    recorder.set_progress(2, 3, "again")
    wait(after)
    return "at last"


@shared_task(bind=True)
def stored_before_retry(self: Any, path: str) -> None:
    """Write to a file which attempt the store has when the message of the next attempt is about to be sent."""
    ProgressRecorder(self)
    if self.request.retries:
        return

    def look(**_: Any) -> None:
        record = progresskit.get(self.request.id)
        Path(path).write_text("none" if record is None else f"attempt {record.attempt}")

    before_task_publish.connect(look, weak=False)  # behind the receiver that the recorder has connected
    try:
        raise self.retry(countdown=0)
    finally:
        before_task_publish.disconnect(look)


@shared_task(bind=True)
def ignores(self: Any) -> None:
    ProgressRecorder(self).set_progress(1, 3)
    raise Ignore("nothing to do")


@shared_task(bind=True, ignore_result=True)
def forgets(self: Any, fails: bool) -> str:
    ProgressRecorder(self).set_progress(1, 3)
    if fails:
        raise ValueError("a secret")
    return "a secret"


@shared_task(bind=True)
def child(self: Any, gate: str) -> None:
    """Report to the task while another job surrounds."""
    import progresskit

    with progresskit.observe(f"child-of-{self.request.id}", total=10) as observer:
        observer.advance(7)
        ProgressRecorder(self).set_progress(1, 3, "outside")
        wait(gate)


@shared_task(bind=True)
def takes(self: Any, calls: int, file: str) -> None:
    """Write into a file how many commands Redis was sent meanwhile: who waits for that sends none."""
    recorder = ProgressRecorder(self)
    recorder.set_progress(0, calls)
    client = self.backend.client
    before = client.info("commandstats")
    for i in range(calls):
        recorder.set_progress(i + 1, calls)
    after = client.info("commandstats")
    sent = sum(after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after)
    Path(f"{file}-unseen").write_text(str(sent))
    Path(f"{file}-unseen").rename(file)
