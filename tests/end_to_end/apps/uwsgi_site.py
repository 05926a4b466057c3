"""A site that has reported and watched in uWSGI's master process before that forks its workers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import uwsgi  # type: ignore[import-untyped]  # which uWSGI brings
from flask import Flask

import progresskit
from progresskit.default_kit import default
from progresskit_flask import ProgressKit

MASTER = os.getpid()

STREAMED, SEEN = "streamed", Path("seen")
"""The job that goes on once its viewer has seen it, and the file that says so."""

app = Flask(__name__)
app.config.update(PROGRESSKIT_URL=os.environ["URL"], PROGRESSKIT_ALLOW_ANONYMOUS=True, PROGRESSKIT_FLUSH_SECONDS=30)
ProgressKit(app)

masters = progresskit.observe("masters", total=3)
masters.advance()
progresskit.flush()
try:
    viewer = default().hub.view(["masters"])
except progresskit.Unsupported:
    assert uwsgi.worker_id() == 0
else:
    assert uwsgi.worker_id() > 0, "with lazy-apps"
    viewer.get(30)
progresskit.get_many(["masters"])


@app.post("/jobs/<id>")
def work(id: str) -> dict[str, Any]:
    began = time.monotonic()
    with progresskit.observe(id, total=10) as job:
        for number in range(10):
            time.sleep(0.02)
            job.advance()
            while id == STREAMED and number == 4 and not SEEN.exists():
                time.sleep(0.02)
    took = time.monotonic() - began
    watched = next(iter(progresskit.watch(id)))
    return {"pid": os.getpid(), "master": MASTER, "took": took, "watched": watched.state.value}
