"""The subscriptions to jobs whose records this process keeps itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .abc import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from contextlib import AbstractContextManager

    from .progress import Progress
    from .record_store import RecordStore

Update = TypeVar("Update")


class LocalSubscription(Subscription, Generic[Update]):
    """Receives the updates of its ids as long as it is in its list."""

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        others: list[LocalSubscription[Update]],
        on_update: Callable[[Update], None],
        on_gap: Callable[[], None],
        ready: Callable[[], object] | None,
    ) -> None:
        self.ids: set[str] = set()
        self.on_update, self.on_gap = on_update, on_gap
        self._lock, self._others, self._ready = lock, others, ready
        with lock:
            others.append(self)

    def add(self, ids: Collection[str]) -> None:
        """Receive the updates of these ids as well, once the backend receives them."""
        with self._lock:
            self.ids.update(ids)
        if self._ready is not None:
            self._ready()

    def remove(self, ids: Collection[str]) -> None:
        """Receive no more updates of these ids."""
        with self._lock:
            self.ids.difference_update(ids)

    def close(self) -> None:
        """Receive no more updates."""
        with self._lock:
            if self in self._others:
                self._others.remove(self)


class SubscriptionList:
    """
    All subscriptions of one backend in this process.

    `lock` guards them and the records; the caller of a method that delivers holds it. An error of one subscriber is
    logged, and the others receive the update.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._updates: list[LocalSubscription[Iterable[Progress]]] = []
        self._cancels: list[LocalSubscription[Collection[str]]] = []

    def subscribe(
        self,
        on_update: Callable[[Iterable[Progress]], None],
        on_gap: Callable[[], None],
        ready: Callable[[], object] | None = None,
    ) -> Subscription:
        """Add a subscription to updates; `ready` is called by its `add`, before that returns."""
        return LocalSubscription(self._lock, self._updates, on_update, on_gap, ready)

    def subscribe_cancels(
        self,
        on_cancel: Callable[[Collection[str]], None],
        on_gap: Callable[[], None],
        ready: Callable[[], object] | None = None,
    ) -> Subscription:
        """Add a subscription to cancel requests; `ready` is called by its `add`, before that returns."""
        return LocalSubscription(self._lock, self._cancels, on_cancel, on_gap, ready)

    def deliver(self, ids: Collection[str], entries: RecordStore, now: float) -> None:
        """Deliver the records of changed and renewed jobs."""
        for subscription in list(self._updates) if ids else ():
            records = entries.read([id for id in ids if id in subscription.ids], now)
            if records:
                _call(subscription.on_update, records.values())

    def deliver_cancels(self, ids: Collection[str]) -> None:
        """Deliver the ids of jobs that were requested to stop."""
        for subscription in list(self._cancels) if ids else ():
            if requested := subscription.ids.intersection(ids):
                _call(subscription.on_update, requested)

    def report_gap(self) -> None:
        """Report that updates may have been missed, and that reading shows them."""
        subscriptions: list[LocalSubscription[Any]] = [*self._updates, *self._cancels]
        for subscription in subscriptions:
            _call(subscription.on_gap)

    def clear(self) -> None:
        """Remove all subscriptions."""
        self._updates.clear()
        self._cancels.clear()


def _call(callback: Callable[..., None], *arguments: Any) -> None:
    try:
        callback(*arguments)
    except Exception:  # the connection and the thread that writes serve all subscribers
        from logging import getLogger

        getLogger("progresskit").exception("A subscriber failed; the others receive the update")
