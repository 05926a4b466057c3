"""`python -m progresskit.cli.demo.worker FOLDER`: the demo's Celery worker."""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread

import progresskit
from progresskit.cli.demo.folder import Folder
from progresskit.cli.demo.tasks import make_queue


def main(path: str) -> None:
    """Work until stopped, or until the demo is gone."""
    folder = Folder(path)
    Thread(target=_follow_the_demo, args=(folder,), daemon=True).start()
    # The page shows the return values of tasks.
    progresskit.configure(folder.url, expose_results=True)
    make_queue(folder).worker_main(["worker", "--pool", "prefork", "--loglevel", "WARNING"])


def _follow_the_demo(folder: Folder) -> None:
    """Stop when standard input ends: the demo holds its other end, and is gone, killed perhaps."""
    os.read(0, 1)
    folder.remove()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
