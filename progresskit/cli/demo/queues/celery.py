"""Celery, on a broker of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.cli.demo.broker import steady_transport

from . import QUEUES, SLOTS
from .base import TASKS, Queue

with QUEUES["celery"].needed():
    from celery import Celery

    import progresskit_celery

if TYPE_CHECKING:
    from progresskit.cli.demo.folder import Folder


class CeleryQueue(Queue):
    """A Celery app whose broker and results lie in the folder; its worker has a pool of processes."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        self._folders = {
            "data_folder_in": folder.path / "broker",
            "data_folder_out": folder.path / "broker",
            "control_folder": folder.path / "control",
            "processed_folder": folder.path / "processed",
        }
        self._results = folder.path / "results"
        self._app = Celery("progresskit-demo", broker="filesystem://", backend=f"file://{self._results}")
        self._app.conf.update(
            broker_transport=steady_transport(),
            broker_transport_options={
                **{name: str(path) for name, path in self._folders.items()},
                "store_processed": True,
                "polling_interval": 0.1,
            },
            broker_connection_retry_on_startup=True,
            worker_concurrency=SLOTS,
            worker_prefetch_multiplier=1,
        )
        for name, function in TASKS.items():
            self._app.task(function, name=name)
        progresskit_celery.install(self._app)

    def prepare(self) -> None:
        """Make the folders."""
        for path in {*self._folders.values(), self._results}:
            path.mkdir()

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        id: str = self._app.send_task(task, arguments).id
        return id

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        self._app.worker_main(["worker", "--pool", "prefork", "--loglevel", "WARNING"])
