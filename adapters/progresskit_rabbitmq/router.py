"""The route by which a record, or the report of a part, reaches the other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from progresskit.parts import Report, Tally, advanced, declare
from progresskit.progress import FINAL_STATES, Role, State, Write, awaits, follows

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from progresskit.backends.replica import Stamp
    from progresskit.progress import Stored
    from progresskit.record_store import Entry, RecordStore

Item = TypeVar("Item", Write, Report)

KEYFRAME_SECONDS = 8.0
"""How often the broker stores what is reported of a busy job; of a quiet one it does with each heartbeat."""

JOURNAL_SECONDS = 600.0
"""How often a record goes to the journal, or three times in its ttl: so that it may forget how the job began."""

PART_JOURNAL_SECONDS = 60.0
"""The same for a part: what it has done counts in its job long after the broker has dropped the keyframes."""

CLOSE = 0.05
"""How much earlier than is known a run may have begun, in seconds, without a message to the journal about that."""

REMEMBERED = 20_000
"""Of how many jobs, or parts, that which was sent is remembered."""


class Route(Enum):
    """Where a record, or the report of a part, goes."""

    JOURNAL = "journal"  # decides about the owner, or the end of the job
    KEYFRAME = "keyframe"  # stored for processes that join later, and sent to all that view
    LIVE = "live"  # sent to all that view
    NONE = "none"  # the fold would ignore it


class Sent(NamedTuple, Generic[Item]):
    """The newest item sent, when one last went to the journal and to the keyframes, and whether no stream has it."""

    item: Item
    journalled: float
    keyed: float
    unstored: bool


class Router(ABC, Generic[Item]):
    """Chooses the routes by what was sent of jobs, or parts, that have not ended; the caller holds the lock."""

    def __init__(self) -> None:
        self._sent: dict[Hashable, Sent[Item]] = {}

    @abstractmethod
    def key(self, item: Item) -> Hashable:
        """Return what identifies the job or part."""

    def note(self, routes: Mapping[Route, Sequence[Item]], now: float) -> None:
        """Remember items that were sent."""
        for route in (Route.JOURNAL, Route.KEYFRAME, Route.LIVE):
            for item in routes[route]:
                before = self._sent.pop(self.key(item), None)
                if item.token is None or item.state in FINAL_STATES:
                    continue
                journalled = now if route is Route.JOURNAL or before is None else before.journalled
                keyed = now if route is not Route.LIVE or before is None else before.keyed
                self._sent[self.key(item)] = Sent(item, journalled, keyed, route is Route.LIVE)
                if len(self._sent) > REMEMBERED:
                    del self._sent[next(iter(self._sent))]

    def store(self, now: float) -> list[Item]:
        """Return the newest items that the broker does not store, and note that it stores them from now on."""
        unstored = {key: sent for key, sent in self._sent.items() if sent.unstored}
        self._sent.update((key, sent._replace(keyed=now, unstored=False)) for key, sent in unstored.items())
        return [sent.item for sent in unstored.values()]

    def clear(self) -> None:
        """Forget all items: the next of each job goes to the journal."""
        self._sent.clear()

    def _chosen(self, item: Item, is_repeated: bool, now: float, journal_seconds: float) -> Route:
        """Return the route of an item that decides nothing."""
        sent = self._sent.get(self.key(item))
        if sent is None or sent.item.token != item.token:
            return Route.JOURNAL
        if now - sent.journalled >= min(journal_seconds, item.ttl / 3, sent.item.ttl / 3):
            return Route.JOURNAL
        return Route.KEYFRAME if is_repeated or now - sent.keyed >= KEYFRAME_SECONDS else Route.LIVE


class RecordRouter(Router[Write]):
    """Chooses the route of each record."""

    def key(self, item: Write) -> Hashable:
        """Return the id of the job."""
        return item.id

    def divide(self, batch: Iterable[Write], entries: RecordStore, stamp: Stamp) -> dict[Route, list[Write]]:
        """Return the records of a batch by their routes; `entries` are those stored."""
        routes: dict[Route, list[Write]] = {route: [] for route in Route}
        for write in batch:
            entry = entries.living(write.id, stamp.time)
            # A process that knows no earlier record of the job learns by it when the first run was created.
            born = entry.stored.born if entry is not None else write.created
            routes[self._choose(write, entry, stamp)].append(write._replace(created=born or write.created))
        return routes

    def _choose(self, write: Write, entry: Entry | None, stamp: Stamp) -> Route:
        if write.role is not Role.UPDATE or write.state is not State.RUNNING or entry is None:
            return Route.JOURNAL
        stored = entry.stored
        if stored.token != write.token:
            replaces = stored.restored and follows(stored, write.token, stamp.order - write.age)
            return Route.JOURNAL if awaits(stored, write) or replaces else Route.NONE
        if stored.state in FINAL_STATES or (write.attempt, write.seq) < (stored.attempt, stored.seq):
            return Route.NONE
        if write.attempt != stored.attempt or _declares(write, stored, stamp):
            return Route.JOURNAL
        return self._chosen(write, write.seq == stored.seq, stamp.time, JOURNAL_SECONDS)


def _declares(write: Write, stored: Stored, stamp: Stamp) -> bool:
    """Return whether a worker's update changes how many parts its job has; most only repeat that."""
    if write.declaration is None:
        return False
    before, made = stored.tally or Tally(write.declaration.token), stamp.order - write.age + write.declaration.offset
    return declare(before, write.declaration, made, late=True) is not stored.tally


class PartRouter(Router[Report]):
    """
    Chooses the route of each report of a part.

    The journal has all that decides about the state of a part, and so about the end of its job. Beside it a report only
    raises the hundredths of a part that the journal knows.
    """

    def key(self, item: Report) -> Hashable:
        """Return the job, the name and the token of the part."""
        return item.parent, item.name, item.token

    def divide(
        self, reports: Iterable[Report], entries: RecordStore, stamp: Stamp, journalled: Iterable[Write]
    ) -> dict[Route, list[Report]]:
        """
        Return the reports by their routes.

        Those of one job keep their order where one of them, or the job's record, goes to the journal: the records in
        `journalled` do.
        """
        chosen = [
            (report, self._choose(report, entries.living(report.parent, stamp.time), stamp)) for report in reports
        ]
        ordered = {write.id for write in journalled}
        ordered.update(report.parent for report, route in chosen if route is Route.JOURNAL)
        routes: dict[Route, list[Report]] = {route: [] for route in Route}
        for report, route in chosen:
            routes[Route.JOURNAL if report.parent in ordered else route].append(report)
        return routes

    def _choose(self, report: Report, entry: Entry | None, stamp: Stamp) -> Route:
        if report.state is not State.RUNNING or entry is None or entry.stored.tally is None:
            return Route.JOURNAL
        if entry.is_final or report.run_token not in (None, entry.stored.tally.run_token):
            # The journal may have begun another run since, in which the part starts.
            return Route.JOURNAL if report.is_start else Route.NONE
        part = entry.parts.get(report.name)
        if part is None:
            return Route.JOURNAL
        after = advanced(part, report, stamp.time)
        if after.token != part.token or after.state is not part.state or after.opened < part.opened - CLOSE:
            return Route.JOURNAL
        return self._chosen(report, after.hundredths == part.hundredths, stamp.time, PART_JOURNAL_SECONDS)
