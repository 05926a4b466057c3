"""`python -m progresskit.cli.demo.worker FOLDER QUEUE`: a worker of the demo."""

from __future__ import annotations

import sys

import progresskit
from progresskit.cli.demo.folder import Folder
from progresskit.cli.demo.processes import follow_demo
from progresskit.cli.demo.queues import QUEUES


def main(path: str, name: str) -> None:
    """Work until stopped, or until the demo is gone."""
    broker = sys.stdin.readline().rstrip("\n")
    folder = Folder(path)
    follow_demo(folder)
    # The page shows the return values of tasks.
    progresskit.configure(folder.url, expose_results=True)
    QUEUES[name].load()(folder, broker).work()


if __name__ == "__main__":
    main(*sys.argv[1:])
