"""The route by which a record, or the report of a part, reaches the other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.parts import Report, Tally, advanced, declare
from progresskit.progress import FINAL_STATES, Role, State, Write, awaits, follows

from .sent import KEYFRAME_SECONDS, Route, SentItems

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from progresskit.backends.replica import Stamp
    from progresskit.progress import Stored
    from progresskit.record_store import Entry, RecordStore

JOURNAL_SECONDS = 600.0
"""How often a record goes to the journal, or three times in its ttl: so that it may forget how the job began."""

PART_JOURNAL_SECONDS = 60.0
"""The same for a part: what it has done counts in its job long after the broker has dropped the keyframes."""

CLOSE = 0.05
"""How much earlier than is known a run may have begun, in seconds, without a message to the journal about that."""


class Router(SentItems[Write]):
    """Chooses the route of each record."""

    def key(self, item: Write) -> Hashable:
        """Return the id of the job."""
        return item.id

    def divide(
        self, batch: Iterable[Write], entries: RecordStore, stamp: Stamp, connection: int
    ) -> dict[Route, list[Write]]:
        """Return the records of a batch by their routes; `entries` are those stored, `connection` identifies it."""
        self.note_connection(connection)
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
            replaces = stored.restored and follows(stored, write.token, stamp.order - write.age)
            return Route.JOURNAL if awaits(stored, write) or replaces else Route.NONE
        if stored.state in FINAL_STATES or (write.attempt, write.seq) < (stored.attempt, stored.seq):
            return Route.NONE
        if sent is None or sent.item.token != write.token or write.attempt != stored.attempt:
            return Route.JOURNAL
        if now - sent.journalled >= min(JOURNAL_SECONDS, write.ttl / 3, sent.item.ttl / 3):
            return Route.JOURNAL
        if _declares(write, stored, stamp):
            return Route.JOURNAL
        again = write.seq == stored.seq
        return Route.KEYFRAME if again or now - sent.keyed >= KEYFRAME_SECONDS else Route.LIVE


def _declares(write: Write, stored: Stored, stamp: Stamp) -> bool:
    """Return whether a worker's update changes how many parts its job has; most only repeat that."""
    if write.declaration is None:
        return False
    before, made = stored.tally or Tally(write.declaration.token), stamp.order - write.age + write.declaration.offset
    return declare(before, write.declaration, made, late=True) is not stored.tally


class PartRouter(SentItems[Report]):
    """
    Chooses the route of each report of a part.

    The journal has all that decides about the state of a part, and so about the end of its job. Beside it a report only
    raises the hundredths of a part that the journal knows; see `JournalReplica.raise_parts`.
    """

    def key(self, item: Report) -> Hashable:
        """Return the job, the name and the token of the part."""
        return item.parent, item.name, item.token

    def divide(
        self,
        reports: Iterable[Report],
        entries: RecordStore,
        stamp: Stamp,
        connection: int,
        journalled: Iterable[Write],
    ) -> dict[Route, list[Report]]:
        """
        Return the reports by their routes.

        Those of one job keep their order where one of them, or the job's record, goes to the journal: the records in
        `journalled` do.
        """
        self.note_connection(connection)
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
        part, sent = entry.parts.get(report.name), self._sent.get(self.key(report))
        if part is None or sent is None:
            return Route.JOURNAL
        after = advanced(part, report, stamp.time)
        if after.token != part.token or after.state is not part.state or after.opened < part.opened - CLOSE:
            return Route.JOURNAL
        if stamp.time - sent.journalled >= min(PART_JOURNAL_SECONDS, report.ttl / 3):
            return Route.JOURNAL
        again = after.hundredths == part.hundredths
        return Route.KEYFRAME if again or stamp.time - sent.keyed >= KEYFRAME_SECONDS else Route.LIVE
