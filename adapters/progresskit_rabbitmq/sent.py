"""What this process has sent of jobs and parts that go on, and by which route."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from progresskit.parts import Report
from progresskit.progress import FINAL_STATES, Write

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

Item = TypeVar("Item", Write, Report)

KEYFRAME_SECONDS = 8.0
"""How often the broker stores what is reported of a busy job; of a quiet one it does with each heartbeat."""

REMEMBERED = 20_000
"""Of how many jobs, or parts, that which was sent is remembered."""


class Route(Enum):
    """Where a record, or the report of a part, goes."""

    JOURNAL = "journal"  # decides about the owner, or the end of the job
    KEYFRAME = "keyframe"  # stored for processes that join later, and sent to all that view
    LIVE = "live"  # sent to all that view
    NONE = "none"  # the fold would ignore it


class Sent(NamedTuple, Generic[Item]):
    """The newest item sent, its time and route, and when the last went to the journal and the keyframes."""

    item: Item
    sent: float
    route: Route
    journalled: float
    keyed: float


class Snapshot(NamedTuple, Generic[Item]):
    """An item that this process has sent, and when; `journalled` if the journal has it, unless it is too old."""

    item: Item
    time: float
    journalled: bool


class SentItems(ABC, Generic[Item]):
    """The newest item of each job, or part, that has not ended; the caller holds the lock."""

    def __init__(self) -> None:
        self._sent: dict[Hashable, Sent[Item]] = {}
        self._connection = 0

    @abstractmethod
    def key(self, item: Item) -> Hashable:
        """Return what identifies the job or part."""

    def note_connection(self, connection: int) -> None:
        """Have the broker store the next item of each job, if that is another connection than the last one."""
        if connection != self._connection:
            # Processes that view may not have their connections yet.
            self._connection = connection
            self._sent = {key: sent._replace(keyed=float("-inf")) for key, sent in self._sent.items()}

    def note(self, routes: Mapping[Route, Sequence[Item]], now: float) -> None:
        """Remember items that were sent."""
        for route in (Route.JOURNAL, Route.KEYFRAME, Route.LIVE):
            for item in routes[route]:
                self._note(item, route, now)

    def _note(self, item: Item, route: Route, now: float) -> None:
        key = self.key(item)
        before = self._sent.pop(key, None)
        if item.token is None or item.state in FINAL_STATES:
            return
        if route is Route.JOURNAL or before is None:
            self._sent[key] = Sent(item, now, Route.JOURNAL, now, now)
        else:
            keyed = now if route is Route.KEYFRAME else before.keyed
            self._sent[key] = Sent(item, now, route, before.journalled, keyed)
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def newest(self) -> list[Snapshot[Item]]:
        """Return the newest item of each job that has not ended."""
        return [Snapshot(sent.item, sent.sent, sent.route is Route.JOURNAL) for sent in self._sent.values()]

    def store(self, now: float) -> list[Item]:
        """Return the items that the broker does not store, and note that it stores them from now on."""
        unstored = self.unstored()
        for item in unstored:
            key = self.key(item)
            self._sent[key] = self._sent[key]._replace(route=Route.KEYFRAME, keyed=now)
        return unstored

    def unstored(self) -> list[Item]:
        """Return the newest items that the broker does not store."""
        return [sent.item for sent in self._sent.values() if sent.route is Route.LIVE]

    def clear(self) -> None:
        """Forget all items: the next of each job goes to the journal."""
        self._sent.clear()
