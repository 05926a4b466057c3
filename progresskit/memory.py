"""The reference backend: one process, a dict, and the fold itself."""

from __future__ import annotations

from threading import Lock
from time import monotonic, time
from typing import TYPE_CHECKING

from .abc import (
    Backend,
    Subscription,
    SupportsCancelPush,
    SupportsListing,
    SupportsParts,
    SupportsPush,
)
from .record_store import RecordStore
from .subscriptions import SubscriptionList

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from .config import Settings
    from .parts import Report
    from .progress import Progress, State, Write

SWEEP_SECONDS = 60.0
"""How often records that have expired are removed, beside those that are come across."""


_EPOCH = time() - monotonic()


def steady_time() -> float:
    """Return seconds since the epoch that never go back, as of a clock that is not set while the process lives."""
    return _EPOCH + monotonic()


class MemoryBackend(Backend, SupportsPush, SupportsCancelPush, SupportsListing, SupportsParts):
    """Keeps the records of this process; `clock` returns seconds since the epoch and never goes back."""

    shared = False

    def __init__(self, clock: Callable[[], float] = steady_time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._entries = RecordStore()
        self._subscriptions = SubscriptionList(self._lock)
        self._swept = clock()

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> MemoryBackend:
        """Make an empty one; the URL has no other parts."""
        return cls()

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, and deliver the changed records."""
        return self.write_with_reports(batch, ())[0]

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Fold both in, and deliver new, declared and ended jobs; the sums over parts are read."""
        now = self._clock()
        with self._lock:
            self._sweep(now)
            heard = {write.id for write in batch if self._entries.take(write, now, now)}
            taken, pushed = self._entries.take_reports(reports, now, now)
            runs = {write.id: self._entries[write.id].stored.run for write in batch}
            self._subscriptions.deliver(heard | pushed, self._entries, now)
            return runs, self._entries.run_tokens(taken.union(runs))

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known and have not expired."""
        now = self._clock()
        with self._lock:
            return self._entries.read(ids, now)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Mark those that are known and not done."""
        now = self._clock()
        with self._lock:
            accepted = self._entries.request_cancel(ids, now)
            self._subscriptions.deliver(accepted, self._entries, now)
            self._subscriptions.deliver_cancels(accepted)
        return accepted

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        now = self._clock()
        with self._lock:
            return self._entries.cancel_requested(ids, now)

    def forget(self, ids: Collection[str]) -> set[str]:
        """Remove those that are done or stalled."""
        now = self._clock()
        with self._lock:
            return self._entries.remove(self._entries.forgettable(ids, now))

    def list(
        self, *, kind: str | None, states: Collection[State] | None, limit: int, part_of: str | None = None
    ) -> list[Progress]:
        """Return the jobs written last, newest first."""
        now = self._clock()
        with self._lock:
            return self._entries.list(kind, states, limit, now, part_of)

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Call `on_update` from within each write; no update is ever lost."""
        return self._subscriptions.subscribe(on_update, on_gap)

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Call `on_cancel` from within each request that is accepted; no request is ever lost."""
        return self._subscriptions.subscribe_cancels(on_cancel, on_gap)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._subscriptions.clear()

    def after_fork_in_child(self) -> None:
        """Begin empty: the records are the parent's, which this process can no longer reach."""
        self._lock = Lock()
        self._entries = RecordStore()
        self._subscriptions = SubscriptionList(self._lock)

    def _sweep(self, now: float) -> None:
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._entries.sweep(now)
