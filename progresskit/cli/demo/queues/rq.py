"""RQ, on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.cli.demo.processes import follow_demo

from . import QUEUES
from .base import CONNECT_SECONDS, TASKS, Queue

with QUEUES["rq"].needed():
    import rq
    from redis import Redis
    from rq.utils import as_text

    import progresskit_rq

if TYPE_CHECKING:
    from progresskit.cli.demo.folder import Folder


class RQQueue(Queue):
    """A queue of RQ, whose workers fork a work-horse for each job."""

    def __init__(self, folder: Folder, broker: str) -> None:
        super().__init__(folder, broker)
        connection = Redis.from_url(broker, socket_connect_timeout=CONNECT_SECONDS)
        self._queue = rq.Queue(self.name, connection=connection, default_timeout=-1)
        progresskit_rq.install(self._queue)

    def prepare(self) -> None:
        """Reach the server."""
        self._queue.connection.ping()

    def send(self, task: str, *arguments: Any) -> str:
        """Send a task; return its id."""
        return self._queue.enqueue(TASKS[task], *arguments).id

    def work(self) -> None:
        """Execute tasks until the process is killed."""
        worker = _Worker([self._queue], connection=self._queue.connection)
        worker.demo_folder = self.folder
        worker.work(logging_level="WARNING")

    def remove(self) -> None:
        """Remove the jobs, the queue and the workers from the server."""
        queue, connection = self._queue, self._queue.connection
        for worker in _Worker.all(queue=queue):
            worker.register_death()  # type: ignore[no-untyped-call]
            connection.delete(worker.key)  # RQ keeps it for a while
        for job in queue.job_class.fetch_many(self._ids(), connection=connection):
            if job is not None:
                job.delete()
        queue.delete()
        for key in connection.scan_iter(f"{queue.key}:*"):
            connection.delete(key)

    def _ids(self) -> list[str]:
        """Return the ids of the jobs that have left the queue; those in it are deleted with it."""
        queue = self._queue
        registries = (
            queue.started_job_registry,
            queue.finished_job_registry,
            queue.failed_job_registry,
            queue.canceled_job_registry,
        )
        ids = {id for registry in registries for id in registry.get_job_ids(cleanup=False)}
        return [*ids, *map(as_text, queue.connection.lrange(queue.intermediate_queue_key, 0, -1))]


class _Worker(progresskit_rq.Worker):
    """Its work-horses, each of a process group of its own, end with the demo."""

    demo_folder: Folder

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        follow_demo(self.demo_folder)
