"""A process that serves the requests of a test, one after the other."""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Condition
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any

from progresskit.abc import SupportsListing
from progresskit.errors import Cancelled
from progresskit.kit import Kit
from progresskit.progress import Role, State, Write

from .helpers import PATIENCE, insist

if TYPE_CHECKING:
    from collections.abc import Callable

    from progresskit.abc import Backend
    from progresskit.observer import ProgressObserver
    from progresskit.progress import Progress

NEVER = 10_000.0


class Servant:
    """Handles requests in JSON; a write is `packed`, a record is its JSON."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # Far apart, so that a request to cancel reaches the job only in the promised way.
        self._kit = Kit(backend=backend, interval=0.02, heartbeat=NEVER / 10, lease=NEVER)
        self._seen = Condition()
        self._records: list[Progress] = []
        self._ids: frozenset[str] = frozenset()
        self._watched: list[Callable[[], None]] = []
        self._jobs: dict[str, ProgressObserver] = {}

    # As a worker does by its backend.

    def write(self, batch: list[Any]) -> dict[str, int]:
        """Write, and return the runs of the answer."""
        writes = [unpacked(write) for write in batch]
        return dict(insist(lambda: self._backend.write(writes)))

    def read(self, ids: list[str]) -> dict[str, str]:
        """Return the stored records."""
        return {id: progress.to_json() for id, progress in insist(lambda: self._backend.read(ids)).items()}

    def listed(self) -> list[str]:
        """Return the ids of all jobs, in the order of the list."""
        backend = self._backend
        assert isinstance(backend, SupportsListing)
        return [progress.id for progress in insist(lambda: backend.list(kind=None, states=None, limit=100))]

    def play(self, steps: list[Any]) -> list[Any]:
        """Write, or request a cancel, and pause, step by step; return the answer to each."""
        answers: list[Any] = []
        for id, write, pause in steps:
            answers.append(self.write([write]).get(id) if write else id in self._cancel([id]))
            sleep(pause)
        return answers

    def _cancel(self, ids: list[str]) -> set[str]:
        return insist(lambda: self._backend.request_cancel(ids))

    # As a worker does by its kit.

    def open(self, id: str) -> None:
        """Begin a job, and have that stored."""
        self._jobs[id] = self._kit.observe(id, total=10)
        self._kit.flush(PATIENCE)

    def advance(self, id: str) -> None:
        """Make progress."""
        self._jobs[id].advance()

    def end(self, id: str) -> None:
        """End the job well, and have that stored."""
        self._jobs.pop(id).succeed()
        self._kit.flush(PATIENCE)

    def work_on_parts(self, parent: str, names: list[str], items: int, cancellable: bool = False) -> None:
        """Work on parts of a job, one after the other, until a request to cancel; have that stored."""
        with suppress(Cancelled):
            for name in names:
                with self._kit.part(parent, name, total=items, cancellable=cancellable) as part:
                    for _ in range(items):
                        part.advance()
                        sleep(0.003)
        self._kit.flush(PATIENCE)

    def wait_for_cancel(self, id: str) -> bool:
        """Wait until the job is asked to stop; return whether it was."""
        deadline = monotonic() + PATIENCE
        while not self._jobs[id].cancel_requested and monotonic() < deadline:
            sleep(0.005)
        return self._jobs[id].cancel_requested

    # As a viewer does.

    def watch(self, ids: list[str]) -> None:
        """Collect the records of these jobs from now on, and drop earlier ones."""
        while self._watched:
            self._watched.pop()()
        with self._seen:
            self._records, self._ids = [], frozenset(ids)
        self._watched += [self._kit.subject(id).attach(self._note) for id in ids]

    def _note(self, progress: Progress) -> None:
        with self._seen:
            if progress.id in self._ids:
                self._records.append(progress)
                self._seen.notify_all()

    def seen(self, last: dict[str, str]) -> list[str]:
        """Return all that was seen once these records were, or when they do not come."""
        with self._seen:
            self._seen.wait_for(lambda: self._newest() == last, PATIENCE)
            return [progress.to_json() for progress in self._records]

    def _newest(self) -> dict[str, str]:
        return {progress.id: progress.to_json() for progress in self._records}

    def time(self) -> float:
        """Return the time of day, as this process has it."""
        return time()

    def environment(self, name: str) -> str | None:
        """Return a variable of the environment."""
        return os.environ.get(name)

    def close(self) -> None:
        """End the kit's threads."""
        self._kit.close()


def packed(write: Write) -> list[Any]:
    """Return a write as JSON can hold it."""
    return [*write._replace(role=write.role.value, state=write.state.value)]  # type: ignore[arg-type]


def unpacked(values: list[Any]) -> Write:
    """Return the write from its packed form."""
    write = Write(*values)
    return write._replace(role=Role(write.role), state=State(write.state))
