"""The demo's Celery app; `python -m progresskit.cli.demo.worker FOLDER` is its worker."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING

import progresskit
from progresskit.cli.demo import work

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SLOTS = 2
"""How many tasks run at once."""


def make_app(folder: Path | str) -> Any:
    """Return the Celery app, whose broker is a file in the folder."""
    import progresskit_celery

    celery, broker = import_module("celery"), import_module("kombu.transport.sqlalchemy")  # of no types
    broker.Transport.polling_interval = 0.1  # seconds, one by default; as an option it would reach SQLAlchemy
    app = celery.Celery("progresskit-demo", broker=f"sqla+sqlite:///{folder}/queue.db")
    app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_concurrency=SLOTS,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,  # such a broker has none
    )
    for function in work.TASKS:
        app.task(function, name=function.__name__)
    progresskit_celery.install(app)
    return app


def main(folder: str) -> None:
    """Execute tasks until the process is killed, or the demo is gone."""
    Thread(target=_follow_demo, args=(folder,), daemon=True).start()
    # The page shows the return values of tasks.
    progresskit.configure(f"sqlite:///{folder}/progress.db", expose_results=True)
    options = ("--pool=prefork", "--loglevel=WARNING", "--without-mingle", "--without-gossip", "--without-heartbeat")
    make_app(folder).worker_main(["worker", *options])


def _follow_demo(folder: str) -> None:
    """End this process, its group and the folder when the demo is gone, killed perhaps."""
    os.read(0, 1)  # standard input ends: the demo holds its other end
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
