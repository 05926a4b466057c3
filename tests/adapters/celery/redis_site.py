"""A Celery worker that has broker, results and progress in one Redis, and this process, which sends it a canvas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import progresskit_celery
from progresskit.progress import Progress
from tests.services import server
from tests.services.waiting import PATIENCE

from .site import Site
from .worker import PATIENT, Worker, configuration, start_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.canvas import Signature


class RedisSite(Site):
    """
    A worker on a fresh database of Redis.

    With `redelivery_seconds`, a message that its worker has not acknowledged is delivered again about so much later.
    """

    def __init__(self, folder: Path, *, redelivery_seconds: int | None = None, **how: Any) -> None:
        self.url = server("redis").fresh()
        self.settings = settings_on(self.url, folder, redelivery_seconds)
        super().__init__(folder, url=self.url, settings=self.settings)
        progresskit_celery.install(self.app, kit=self.kit, ignore=["proj.secret"])  # as the worker has it
        self._worker = self.start(**how)

    def start(self, *, env: Mapping[str, str] | None = None, **how: Any) -> Worker:
        """Return another worker of this site."""
        shared = {"PROJ_CONFIGURATION": json.dumps(self.settings), "PROGRESSKIT_URL": self.url}
        return start_worker(self.folder, env=PATIENT | shared | dict(env or {}), **how)

    def close(self) -> None:
        """End the worker and what watches it."""
        self.worker.kill()
        self.kit.close()

    def s(self, task: str, *args: Any, **options: Any) -> Signature:
        """Return the immutable signature of a task."""
        return self.app.signature(f"proj.{task}", args, immutable=True, **options)

    def canvas(self, signature: Any, **options: Any) -> Any:
        """Send a canvas as one job."""
        self.app.set_current()
        return progresskit_celery.send(signature, **options)

    @contextmanager
    def watched(self, id: str) -> Iterator[list[Progress]]:
        """Give the list of the records of a job, as a viewer sees them; whole after the block, at the job's end."""
        seen: list[Progress] = []

        def watch() -> None:
            seen.extend(self.kit.watch(id))

        thread = Thread(target=watch, name=f"watch-{id}", daemon=True)
        thread.start()
        yield seen
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{id} does not end: {self.kit.get(id)}"


def settings_on(url: str, folder: Path, redelivery_seconds: int | None = None) -> dict[str, Any]:
    """Return the settings of a Celery app whose broker and results are in that Redis."""
    transport = {
        "visibility_timeout": redelivery_seconds or 3600,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    return {
        **configuration(folder),
        "broker_url": url,
        "result_backend": url,
        "broker_transport_options": transport,
        "worker_pool_putlocks": True,  # as by default; on this transport the worker listens all the same
        "result_backend_transport_options": transport,
    }
