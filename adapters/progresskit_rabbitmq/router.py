"""The route by which a record reaches the other processes, and the records that this process has sent."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from progresskit.progress import FINAL_STATES, Role, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from progresskit.backends.replica import Stamp
    from progresskit.progress import Write
    from progresskit.record_store import Entry, RecordStore

KEYFRAME_SECONDS = 8.0
"""How often the broker stores the record of a busy job; that of a quiet one it stores with each heartbeat."""

JOURNAL_SECONDS = 600.0
"""How often it goes to the journal, or three times in its ttl: so that the journal may forget how the job began."""

JOBS = 20_000
"""Of how many jobs the sent record is remembered."""


class Route(Enum):
    """Where a record goes."""

    JOURNAL = "journal"  # decides about the owner, or the end of the job
    KEYFRAME = "keyframe"  # stored for processes that join later, and sent to all that view
    LIVE = "live"  # sent to all that view
    NONE = "none"  # the fold would ignore it


class Sent(NamedTuple):
    """The newest record sent of a job, its time and route, and when the last went to the journal and the keyframes."""

    write: Write
    sent: float
    route: Route
    journalled: float
    keyed: float


class Snapshot(NamedTuple):
    """A record that this process has sent, and when; `journalled` if the journal has it, unless it is too old."""

    write: Write
    time: float
    journalled: bool


class Router:
    """Chooses the route of each record; the caller holds the lock."""

    def __init__(self) -> None:
        self._sent: dict[str, Sent] = {}
        self._connection = 0

    def divide(
        self, batch: Iterable[Write], entries: RecordStore, stamp: Stamp, connection: int
    ) -> dict[Route, list[Write]]:
        """Return the records of a batch by their routes; `entries` are those stored, `connection` identifies it."""
        if connection != self._connection:
            # The next record of each job is stored: processes that view may not have their connections yet.
            self._connection = connection
            self._sent = {id: sent._replace(keyed=float("-inf")) for id, sent in self._sent.items()}
        routes: dict[Route, list[Write]] = {route: [] for route in Route}
        for write in batch:
            entry = entries.living(write.id, stamp.time)
            # A process that knows no earlier record of the job learns by it when the first run was created.
            born = entry.stored.born if entry is not None else write.created
            routes[self._choose(write, entry, stamp)].append(write._replace(created=born or write.created))
        return routes

    def _choose(self, write: Write, entry: Entry | None, stamp: Stamp) -> Route:
        now = stamp.time
        if write.role is not Role.UPDATE or write.state is not State.RUNNING or entry is None:
            return Route.JOURNAL
        stored, sent = entry.stored, self._sent.get(write.id)
        if stored.token != write.token:
            follows = stored.restored and stamp.order - write.age > stored.opened
            return Route.JOURNAL if stored.state is State.PENDING or follows else Route.NONE
        if stored.state in FINAL_STATES or (write.attempt, write.seq) < (stored.attempt, stored.seq):
            return Route.NONE
        if sent is None or sent.write.token != write.token or write.attempt != stored.attempt:
            return Route.JOURNAL
        if now - sent.journalled >= min(JOURNAL_SECONDS, write.ttl / 3, sent.write.ttl / 3):
            return Route.JOURNAL
        again = write.seq == stored.seq
        return Route.KEYFRAME if again or now - sent.keyed >= KEYFRAME_SECONDS else Route.LIVE

    def note(self, routes: dict[Route, list[Write]], now: float) -> None:
        """Remember records that were sent."""
        for route in (Route.JOURNAL, Route.KEYFRAME, Route.LIVE):
            for write in routes[route]:
                self._note(write, route, now)

    def _note(self, write: Write, route: Route, now: float) -> None:
        before = self._sent.pop(write.id, None)
        if write.token is None or write.state in FINAL_STATES:
            return
        if route is Route.JOURNAL or before is None:
            self._sent[write.id] = Sent(write, now, Route.JOURNAL, now, now)
        else:
            keyed = now if route is Route.KEYFRAME else before.keyed
            self._sent[write.id] = Sent(write, now, route, before.journalled, keyed)
        if len(self._sent) > JOBS:
            del self._sent[next(iter(self._sent))]

    def newest(self) -> list[Snapshot]:
        """Return the newest record of each job that has not ended."""
        return [Snapshot(sent.write, sent.sent, sent.route is Route.JOURNAL) for sent in self._sent.values()]

    def store(self, now: float) -> list[Write]:
        """Return the records that the broker does not store, and note that it stores them from now on."""
        unstored = self.unstored()
        for write in unstored:
            self._sent[write.id] = self._sent[write.id]._replace(route=Route.KEYFRAME, keyed=now)
        return unstored

    def unstored(self) -> list[Write]:
        """Return the newest records that the broker does not store."""
        return [sent.write for sent in self._sent.values() if sent.route is Route.LIVE]

    def clear(self) -> None:
        """Forget all records: the next of each job goes to the journal."""
        self._sent.clear()
