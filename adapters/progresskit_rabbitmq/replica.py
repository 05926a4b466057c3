"""
The records of a process, folded from the journal and from the messages beside it.

Every replica folds the journal in its one order, so all agree on the owner and the end of a job. A message beside the
journal only advances a record that its sender owns already, and a report beside it only raises the hundredths of a part
that the journal knows. So it does not matter which of them a replica receives, and when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from progresskit.backends.changes import Changes
from progresskit.backends.replica import Outcome, Outcomes, Replica, Stamp

from .messages import TICK

if TYPE_CHECKING:
    from progresskit.parts import Report
    from progresskit.progress import Write

    from .messages import Message

SENDERS = 10_000
"""How many senders are remembered, with the number of their last message."""


class Place(NamedTuple):
    """A message of the journal: its offset, its sender and its number."""

    offset: int
    sender: str
    number: int


class JournalReplica(Replica):
    """
    A replica whose times are seconds of the broker's clock.

    Replicas share `outcomes`: the first one that folds a message resolves it. One that does not read the whole journal
    cannot add up parts; without `counts_parts` it leaves them out, and resolves no message about them.
    """

    def __init__(self, limit: int, outcomes: Outcomes, *, counts_parts: bool = True) -> None:
        super().__init__(limit)
        self.counts_parts = counts_parts
        self.ready = False
        """True while all messages are folded that were in the streams when the connection was made."""
        self.place: Place | None = None
        """The last message of the journal that was folded."""
        self.folded: dict[str, int] = {}
        """The number of the last message folded, by sender."""
        self.order = float("-inf")
        """The order of the last message of the journal."""
        self._early: dict[tuple[str | None, ...], tuple[Changes, Stamp]] = {}
        """The newest of each that came beside the journal before this replica was ready."""
        self._limit, self._outcomes = limit, outcomes

    def fold_journal(self, message: Message, place: Place, own: bool) -> Outcome:
        """Fold a message of the journal, `own` if this process has sent it."""
        self.place = place
        self.folded.pop(message.sender, None)
        self.folded[message.sender] = message.number
        if len(self.folded) > SENDERS:
            del self.folded[next(iter(self.folded))]
        # The clocks of two senders differ by up to a second; the order of the journal is the same for all processes.
        self.order = max(message.stamp.order, self.order + TICK)
        changes = message.changes if self.counts_parts else message.changes.without_parts()
        outcome = self.fold(changes, Stamp(message.stamp.time, self.order))
        knows_all = changes is message.changes and all(id in self.entries for id in changes.cancels)
        if own and (self.counts_parts or knows_all):
            self._outcomes.resolve(message.number, outcome)
        return outcome

    def become_ready(self) -> None:
        """Fold what came beside the journal before the journal was read."""
        self.ready = True
        early, self._early = self._early, {}
        for changes, stamp in early.values():
            self.advance(changes, stamp)

    def advance(self, changes: Changes, stamp: Stamp) -> Outcome:
        """Fold what came beside the journal; the outcome has the records that changed or were renewed."""
        if not self.ready:
            self._keep(changes, stamp)
            return Outcome({})
        updated = [write.id for write in changes.writes if self._advance(write, stamp)]
        # Not all replicas fold these reports, so they change nothing by which the journal decides.
        raised = (self._raising(report, stamp) for report in changes.reports if self.counts_parts)
        counted, _ = self.entries.take_reports([report for report in raised if report is not None], *stamp)
        return Outcome({}, updated=updated, run_tokens=self.entries.run_tokens(counted))

    def _keep(self, changes: Changes, stamp: Stamp) -> None:
        each: dict[tuple[str | None, ...], Changes] = {}
        each |= {(write.id, write.token): Changes([write]) for write in changes.writes}
        each |= {(report.parent, report.name, report.token): Changes(reports=[report]) for report in changes.reports}
        for key, change in each.items():
            known = self._early.pop(key, None)
            self._early[key] = known if known is not None and known[1].order > stamp.order else (change, stamp)
            if len(self._early) > self._limit:
                del self._early[next(iter(self._early))]

    def _advance(self, write: Write, stamp: Stamp) -> bool:
        entry = self.entries.living(write.id, stamp.time)
        if entry is None:
            return self.take(write, stamp)  # the journal has forgotten the job, or was not read so far back
        # The journal alone decides when the run began, and how many parts it has.
        write = write._replace(age=stamp.order - entry.stored.opened, declaration=None)
        return entry.stored.token == write.token and self.take(write, stamp)

    def _raising(self, report: Report, stamp: Stamp) -> Report | None:
        entry = self.entries.living(report.parent, stamp.time)
        part = entry.parts.get(report.name) if entry is not None else None
        if part is None:
            return None
        age = stamp.time - part.opened - TICK
        return report._replace(token=part.token, state=part.state, age=age, is_start=False, late=False)
