"""Those who are told of changes, or of requests to cancel."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from progresskit.abc import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from progresskit.progress import Progress
    from progresskit.record_store import RecordStore

Told = TypeVar("Told")


class Ear(Subscription, Generic[Told]):
    """One who listens; `ready` is called before it is said that it does."""

    def __init__(
        self,
        ready: Callable[[], None],
        others: list[Ear[Told]],
        tell: Callable[[Told], None],
        lost: Callable[[], None],
    ) -> None:
        self.ids: frozenset[str] = frozenset()
        self._ready, self._others, self._tell, self._lost = ready, others, tell, lost
        others.append(self)

    def add(self, ids: Collection[str]) -> None:
        """Listen to these as well, once all is followed."""
        self.ids = self.ids.union(ids)
        self._ready()

    def remove(self, ids: Collection[str]) -> None:
        """Listen to these no longer."""
        self.ids = self.ids.difference(ids)

    def close(self) -> None:
        """Stop listening."""
        self.ids = frozenset()
        if self in self._others:
            self._others.remove(self)

    def tell(self, news: Told) -> None:
        """Hand on what happened to the ids."""
        _call(lambda: self._tell(news))

    def lost(self) -> None:
        """Say that something may have been missed."""
        _call(self._lost)


class Ears:
    """All who listen in this process."""

    def __init__(self) -> None:
        self.to_records: list[Ear[Iterable[Progress]]] = []
        self.to_requests: list[Ear[Collection[str]]] = []

    def tell(self, ids: Collection[str], entries: RecordStore, now: float) -> None:
        """Tell of jobs that were changed or heard of."""
        for ear in list(self.to_records) if ids else ():
            records = entries.read([id for id in ids if id in ear.ids], now)
            if records:
                ear.tell(records.values())

    def ask(self, ids: Collection[str]) -> None:
        """Tell of jobs that are asked to stop."""
        for ear in list(self.to_requests) if ids else ():
            if asked := ear.ids.intersection(ids):
                ear.tell(asked)

    def lost(self) -> None:
        """Tell that something may have been missed, and all is known again."""
        ears: list[Ear[Any]] = [*self.to_records, *self.to_requests]
        for ear in ears:
            ear.lost()


def _call(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception:  # the connection is everybody's, and must not end by it
        logging.getLogger("progresskit").exception("Whoever listens to RabbitMQ failed; listening goes on")
