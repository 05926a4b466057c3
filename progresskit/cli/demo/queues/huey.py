"""Huey, on a file of SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import QUEUES, SLOTS
from .base import TASKS, Queue

with QUEUES["huey"].needed():
    from huey import SqliteHuey

    import progresskit_huey

if TYPE_CHECKING:
    from progresskit.cli.demo.folder import Folder

BUSY_SECONDS = 60


class HueyQueue(Queue):
    """A Huey instance whose storage lies in the folder; its consumer has worker processes."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        self._huey = SqliteHuey(self.name, filename=str(folder.path / "huey.db"), timeout=BUSY_SECONDS)
        progresskit_huey.install(self._huey)
        self._tasks = {name: self._huey.task(name=name)(function) for name, function in TASKS.items()}

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        return str(self._tasks[task](*arguments).id)

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        options = {"workers": SLOTS, "worker_type": "process", "max_delay": 0.1, "periodic": False}
        self._huey.create_consumer(**options).run()
