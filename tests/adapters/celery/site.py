"""A Celery worker, and this process, which sends tasks to it and watches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from progresskit.kit import Kit
from progresskit.progress import Progress, State
from tests.services.steady_broker import steady_transport
from tests.services.waiting import PATIENCE, wait_until

from .worker import Worker, configuration, environment


class Site:
    """A worker, and a process that sends tasks to it and watches them: this one."""

    def __init__(
        self, folder: Path, worker: Worker | None = None, url: str | None = None, settings: Any = None
    ) -> None:
        from celery import Celery

        import progresskit_celery

        self.folder, self._worker = folder, worker
        self.kit = Kit(url or environment(folder)["PROGRESSKIT_URL"])
        self.app = Celery("client", set_as_current=False)
        self.app.conf.update(settings or {**configuration(folder), "broker_transport": steady_transport()})
        progresskit_celery.install(self.app, kit=self.kit)
        self._gates = 0

    @property
    def worker(self) -> Worker:
        assert self._worker is not None
        return self._worker

    def send(self, task: str, *args: Any, **options: Any) -> Any:
        """Send a task and return its AsyncResult."""
        self.app.set_current()
        return self.app.send_task(f"proj.{task}", args, **options)

    def gate(self) -> Path:
        """Return a file that is not there; a task that waits for it goes on when the test makes it."""
        self._gates += 1
        return self.folder / f"gate-{self._gates}"

    def until(self, id: str, *states: State, seconds: float = PATIENCE) -> Progress:
        """Return the record of the job once it is in one of the states."""
        return self.until_seen(id, lambda progress: progress.state in states, seconds)

    def until_seen(self, id: str, seen: Callable[[Progress], Any], seconds: float = PATIENCE) -> Progress:
        """Return the record of the job once it is as it should be."""

        def found() -> Progress | None:
            progress = self.kit.get(id)
            return progress if progress is not None and seen(progress) else None

        try:
            progress = wait_until(found, "the job comes so far", seconds)
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; it is {self.kit.get(id)}\n{self._worker and self._worker.logged()[-4000:]}"
            ) from None
        assert progress is not None
        return progress

    def done(self, id: str, seconds: float = PATIENCE) -> Progress:
        """Return the last record of the job."""
        return self.until_seen(id, lambda progress: progress.done, seconds)

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Keep the whole pool busy, so that tasks have to wait."""
        gate = self.gate()
        holders = [self.send("hold", str(gate)) for _ in range(2)]
        try:
            self.until(holders[0].id, State.RUNNING)
            yield
        finally:
            gate.touch()

    @contextmanager
    def held_back(self, task: str, *args: Any) -> Iterator[Any]:
        """Send a task, and keep the pool busy after it: what it sends itself, as its next attempt, has to wait."""
        gate = self.gate()
        try:
            with self.occupied():
                result = self.send(task, *args)
                for _ in range(2):
                    self.send("hold", str(gate))
            yield result
        finally:
            gate.touch()
