"""
The records of a process, folded from the journal and from the messages beside it.

Every replica folds the journal in its one order, so all agree on the owner and the end of a job. A message beside the
journal only advances a record that its sender owns already; if the start of that sender has not been folded yet, the
newest record waits for it. So it does not matter which of the two arrives first. In the same way a report beside the
journal only raises the hundredths of a part that the journal knows, or waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.backends.replica import Outcome, Outcomes, Replica, Stamp

from .messages import TICK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from progresskit.parts import Report
    from progresskit.progress import Write

    from .messages import Message

HELD = 10_000
"""How many records, and reports, that arrived too early are kept; when there are more, the oldest is dropped."""

SENDERS = 10_000
"""How many senders are remembered, with the number of their last message."""


class JournalReplica(Replica):
    """
    A replica whose times are seconds of the broker's clock.

    Without `bodies` it keeps only the part of the records that decides which run is stored. Replicas may share
    `outcomes`: the first one that folds a message resolves it. One that does not read the whole journal cannot add up
    parts; without `counts_parts` it leaves them out, and resolves no message about them.
    """

    def __init__(
        self, *, bodies: bool, limit: int, outcomes: Outcomes | None = None, counts_parts: bool = True
    ) -> None:
        super().__init__(limit)
        self.bodies, self.counts_parts = bodies, counts_parts
        self.ready = False
        """True while all messages are folded that were in the journal when the connection was made."""
        self.place: tuple[int, str, int] | None = None
        """The offset of the last message of the journal, its sender and its number."""
        self.folded: dict[str, int] = {}
        """The number of the last message folded, by sender."""
        self.order = float("-inf")
        """The order of the last message of the journal."""
        self._held: dict[tuple[str, str | None], tuple[Write, Stamp]] = {}
        self._held_reports: dict[tuple[str, str], tuple[Report, Stamp]] = {}
        self._outcomes = Outcomes() if outcomes is None else outcomes

    def fold_journal(self, message: Message, offset: int, own: bool) -> Outcome:
        """Fold a message of the journal, `own` if this process has sent it."""
        self.place = offset, message.sender, message.number
        self.folded.pop(message.sender, None)
        self.folded[message.sender] = message.number
        if len(self.folded) > SENDERS:
            del self.folded[next(iter(self.folded))]
        # The clocks of two senders differ by up to a second; the order of the journal is the same for all processes.
        self.order = max(message.stamp.order, self.order + TICK)
        stamp, changes = Stamp(message.stamp.time, self.order), message.changes
        if not self.counts_parts:
            changes = changes.without_parts()
        outcome = self.fold(changes, stamp)
        for report in changes.reports:
            if self._held_reports and (held := self._held_reports.pop((report.parent, report.name), None)):
                self.raise_parts([held[0]], held[1])
        if own and (self.counts_parts or (changes is message.changes and self._knows(changes.cancels))):
            self._outcomes.resolve(message.number, outcome)
        return outcome

    def _knows(self, ids: Iterable[str]) -> bool:
        return all(id in self.entries for id in ids)

    def raise_parts(self, reports: Iterable[Report], stamp: Stamp) -> set[str]:
        """
        Raise the hundredths of parts to those of reports that came beside the journal; return the ids of their jobs.

        Not all replicas fold them, so they change nothing by which the journal decides.
        """
        raised = (self._raising(report, stamp) for report in reports if self.counts_parts)
        return self.entries.take_reports([report for report in raised if report is not None], *stamp)[0]

    def _raising(self, report: Report, stamp: Stamp) -> Report | None:
        entry, key = self.entries.living(report.parent, stamp.time), (report.parent, report.name)
        part = entry.parts.get(report.name) if entry is not None else None
        if part is not None:
            age = stamp.time - part.opened - TICK
            return report._replace(token=part.token, state=part.state, age=age, is_start=False, late=False)
        held = self._held_reports.pop(key, None)
        if held is not None and held[1].order > stamp.order:
            report, stamp = held
        self._held_reports[key] = report, stamp
        if len(self._held_reports) > HELD:
            del self._held_reports[next(iter(self._held_reports))]
        return None

    def advance(self, writes: Iterable[Write], stamp: Stamp) -> list[str]:
        """Fold records that came beside the journal; return the ids of those that changed or were renewed."""
        return [write.id for write in writes if self._advance(write, stamp)]

    def _advance(self, write: Write, stamp: Stamp) -> bool:
        entry = self.entries.living(write.id, stamp.time)
        if entry is not None and entry.stored.token == write.token:
            # The journal alone decides when the run began, and how many parts it has: not all replicas fold the
            # messages beside it.
            return self.take(write._replace(age=stamp.order - entry.stored.opened, declaration=None), stamp)
        key = write.id, write.token
        held = self._held.pop(key, None)
        if held is not None and (held[0].attempt, held[0].seq) > (write.attempt, write.seq):
            write, stamp = held
        self._held[key] = write, stamp
        if len(self._held) > HELD:
            del self._held[next(iter(self._held))]
        return False

    def fold_held(self) -> None:
        """Fold the records whose start the journal has forgotten, or has in a part that was not read."""
        for write, stamp in list(self._held.values()):
            self.restore(write, stamp)

    def restore(self, write: Write, stamp: Stamp) -> None:
        """Fold a record if the journal has forgotten the job, or was not read so far back."""
        if self.entries.living(write.id, stamp.time) is None:
            self.take(write, stamp)

    def take(self, write: Write, stamp: Stamp) -> bool:
        """Fold one record, and the record that has waited for it as its start."""
        if not super().take(write if self.bodies else write._replace(body="{}"), stamp):
            return False
        if self._held and (held := self._held.pop((write.id, self.entries[write.id].stored.token), None)):
            self.take(*held)
        return True
