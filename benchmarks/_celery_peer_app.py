"""The tasks of celery_peer.py: each is there twice, reporting by celery-progress and by the kit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery_progress.backend import ProgressRecorder  # type: ignore[import-untyped]

import progresskit
import progresskit_celery
from tests.services.steady_broker import steady_transport

CALLS, STRETCHES, PAUSE_SECONDS = 10_000, 4, 0.25
ROWS, ROW_SECONDS = 600, 0.005

app = Celery("peer")
progresskit_celery.install(app, ignore=lambda name: name.startswith("peer."))
app.conf.update(json.loads(os.environ["PROJ_CONFIGURATION"]), broker_transport=steady_transport())


def called(recorder: Any) -> float:
    """Report ten thousand times, and return the seconds that it took; between some calls there is other work."""
    seconds, size = 0.0, CALLS // STRETCHES
    for stretch in range(STRETCHES):
        time.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        for i in range(stretch * size, (stretch + 1) * size):
            recorder.set_progress(i + 1, CALLS)
        seconds += time.perf_counter() - start
    return seconds


def worked(id: str, recorder: Any) -> int:
    """Do some work and report each row of it; how that ends is written into a file, for Redis may be away."""
    end = Path(os.environ["PEER_ENDS"], id)
    try:
        for i in range(ROWS):
            time.sleep(ROW_SECONDS)
            recorder.set_progress(i + 1, ROWS)
    except Exception as error:
        end.write_text(f"died of a {type(error).__module__}.{type(error).__name__}")
        raise
    end.write_text("returned")
    return ROWS


def peer_calls(self: Any) -> float:
    return called(ProgressRecorder(self))


def peer_works(self: Any) -> int:
    return worked(self.request.id, ProgressRecorder(self))


def our_calls() -> float:
    return called(progresskit.current())


def our_works(self: Any) -> int:
    return worked(self.request.id, progresskit.current())


app.task(bind=True, name="peer.calls")(peer_calls)
app.task(bind=True, name="peer.works")(peer_works)
app.task(name="ours.calls")(our_calls)
app.task(bind=True, name="ours.works")(our_works)
