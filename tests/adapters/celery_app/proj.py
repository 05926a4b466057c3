"""A Celery app such as a user would write, with tasks of all kinds; run by real workers in the tests."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

import progresskit_celery


def configured(app: Celery, folder: Path) -> Celery:
    """Let the app send and receive through files in the folder."""
    app.conf.update(
        broker_url="filesystem://",
        broker_transport_options={
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "processed_folder": str(folder / "processed"),
            "control_folder": str(folder / "control"),
            "store_processed": True,
            "polling_interval": 0.1,
        },
        result_backend=f"file://{folder}/results",
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
    )
    return app


app = Celery("proj")
configured(app, Path(os.environ["PROJ_FOLDER"]))
progresskit_celery.install(app)


@app.task
def add(x: int, y: int) -> int:
    return x + y
