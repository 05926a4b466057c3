"""Backends that really store, and can be made to fail, hang or forget as servers do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from threading import Event
from threading import enumerate as threads

from progresskit.abc import Backend
from progresskit.config import Settings
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.memory import MemoryBackend
from progresskit.progress import Progress, Write


class FlakyBackend(Backend):
    """
    Keeps records as the memory backend does, does not push, and remembers how it was called.

    `down`: nothing works. `deaf`: writes are stored, and the answer is lost. `refused`: writes of these ids are errors.
    `broken`: raises that for every write. `hang`: writes wait for the event.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.store = MemoryBackend(clock)
        self.batches: list[list[Write]] = []
        self.reads: list[frozenset[str]] = []
        self.asked: list[frozenset[str]] = []
        self.down = self.deaf = False
        self.refused: set[str] = set()
        self.broken: Exception | None = None
        self.hang: Event | None = None
        self.hanging = Event()
        self.closed = 0

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> FlakyBackend:
        from time import monotonic

        return cls(monotonic)

    def lose_everything(self) -> None:
        """Lose everything, as a server without a disk does when it is restarted."""
        self.store.close()

    def _answer(self) -> None:
        if self.down:
            raise BackendUnavailable("connection refused")

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        if self.hang is not None:
            self.hanging.set()
            assert self.hang.wait(30)
        self._answer()
        if self.broken is not None:
            raise self.broken
        self.batches.append(list(batch))
        if self.refused.intersection(write.id for write in batch):
            raise BackendError("no")
        runs = self.store.write(batch)
        if self.deaf:
            raise BackendUnavailable("connection reset")
        return runs

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        self._answer()
        self.reads.append(frozenset(ids))
        return self.store.read(ids)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        self._answer()
        return self.store.request_cancel(ids)

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        self._answer()
        self.asked.append(frozenset(ids))
        return self.store.cancel_requested(ids)

    def forget(self, ids: Collection[str]) -> set[str]:
        self._answer()
        return self.store.forget(ids)

    def close(self) -> None:
        self.closed += 1

    def after_fork_in_child(self) -> None:
        self.store.after_fork_in_child()

    @property
    def written(self) -> list[Write]:
        """Every write that came in, in order."""
        return [write for batch in self.batches for write in batch]


def wait_for_removals() -> None:
    """Return when no integration is removing cancelled jobs from its queue."""
    for thread in threads():
        if thread.name == "progresskit-remove":
            thread.join(60)
