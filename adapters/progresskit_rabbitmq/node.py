"""
A process among those that share the journal: its connection, its replica, and the messages that it sends.

A process that only writes follows the journal; one that views receives all messages. A read is as new as a call to a
server would be: a ping that is sent to the queue of this process comes back behind all that was there before. Messages
to the journal lie in that queue as well, as copies, and nothing behind one counts until the journal has brought it.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.backends.barrier import Barrier
from progresskit.backends.changes import Changes, portions
from progresskit.backends.log import LogNode
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.subscriptions import SubscriptionList

from .clock import TIME, BrokerClock
from .connection import INBOX_PREFETCH, Outgoing
from .manager import LOST, ConnectionManager
from .messages import Message, Sender, unpack
from .router import PartRouter, RecordRouter, Route
from .streams import JOURNAL, KEYFRAME, Events, Streams
from .topology import Names, Size, bind, declare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from progresskit.backends.replica import Outcome, Stamp
    from progresskit.parts import Report
    from progresskit.progress import Write
    from progresskit.record_store import RecordStore

    from .address import Address
    from .connection import Connection, Script
    from .replica import JournalReplica

PORTION = 128 << 10
"""Characters of records in one message, about."""

BEHIND_SECONDS = 1.0
"""How long a message to the journal is waited for, of which a copy has arrived: it may never have arrived there."""

LAST_SECONDS = 1.5
"""How long closing waits until the broker has stored the newest records of jobs that go on."""

LIVE, PING = "live", "ping"
"""The types of the messages that no stream stores."""


class Arrival(NamedTuple):
    """A message in the inbox: a ping of this process by its number, or a message of another one."""

    message: int | Message
    is_copy: bool
    time: float


class Node(LogNode):
    """One of each backend and process."""

    def __init__(self, address: Address, prefix: str, ttl: float, clock: Callable[[], float] | None) -> None:
        self.manager = ConnectionManager(address, self._prepare, self._lost)
        self.changed = self.manager.changed
        self.subscriptions = SubscriptionList(self.changed)
        self._names, self._size = Names.of(prefix), Size(ttl, address.journal_bytes)
        self._clock = BrokerClock(self._names.clock, clock)
        self._sender = Sender(self.now)
        self._router, self._part_router = RecordRouter(), PartRouter()
        self._barrier = Barrier(self._ping)
        self.streams = Streams(
            self._names,
            address.jobs,
            self._sender,
            self.manager,
            Events(self._note_changes, self._greet, self.subscriptions.report_gap),
        )
        self._written_by: int | None = None
        """The connection by which all was sent that is not sent again."""
        self._viewing = False
        """True once the inbox receives what others send, and the keyframes are read."""
        self._inbox = ""
        self._arrivals = deque[Arrival]()
        self._is_late_planned = False
        self._answered_since = 0.0
        self._sent_pings = self._returned_pings = 0

    def now(self) -> float:
        """Return the time by the broker's clock."""
        return self._clock.now()

    # Called by callers.

    def follow(self, deadline: float, *, whole: bool = False) -> JournalReplica:
        """Return the replica that answers, once there is one; with `whole` one that has read the whole journal."""
        self.manager.wait_up(deadline)
        with self.changed:
            replica = self.streams.wait(deadline, whole=whole)
            if replica is None:
                raise self.manager.unavailable("earlier messages have not been read in time")
            return replica

    def ready(self, deadline: float, viewing: bool = False) -> RecordStore:
        """Connect, and follow the journal; with `viewing` all other messages too."""
        with self.changed:
            connection = self.manager.connection
            if viewing and not self._viewing:
                self._viewing = True
                if self.manager.is_up and connection is not None:
                    self.manager.is_up = False
                    connection.call(lambda: connection.run(self._view(connection), self.manager.connected))
        return self.follow(deadline).entries

    def requests(self, deadline: float) -> RecordStore:
        """Return the entries; the journal brings requests without being asked."""
        return self.follow(deadline).entries

    def catch_up(self, deadline: float) -> RecordStore:
        """Return the entries, with all messages that the broker had for this process at the time of the call."""
        self.ready(deadline, viewing=True)
        self._barrier.wait(deadline)
        return self.follow(deadline).entries

    def _ping(self, deadline: float) -> None:
        with self.changed:
            self.manager.wait_up(deadline)
            if self.manager.blocked:
                return  # a broker that takes no messages passes none on
            if monotonic() >= deadline:
                raise self.manager.unavailable("no answer in time")
            self._sent_pings += 1
            connection, number = self.manager.failures, self._sent_pings
            self.manager.send(Outgoing(self._names.private, self._inbox, PING, str(number).encode()))
            self.changed.wait_for(
                lambda: self._returned_pings >= number or self.manager.blocked or self.manager.failures != connection,
                deadline - monotonic(),
            )
            if self.manager.failures != connection:
                raise self.manager.unavailable(LOST)
            if self._returned_pings >= number or self.manager.blocked:
                return
        raise self.manager.time_out()

    def write(self, batch: Sequence[Write], deadline: float) -> dict[str, int]:
        """Send each record by its route; return when the broker has all, and the journal has returned the starts."""
        return self.write_with_reports(batch, (), deadline)[0]

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report], deadline: float
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Send each record and report by its route; return when the journal has returned all that it decides."""
        try:
            replica = self.follow(deadline, whole=bool(reports) or any(write.declaration for write in batch))
            self._check_connection()
            return self._write(batch, reports, replica.entries, deadline)
        except BackendUnavailable:
            self._written_by = None
            raise

    def _check_connection(self) -> None:
        """
        Fail once after the connection was made again, so that all is sent again: the broker may have lost its data.

        A write that has failed since has the same effect.
        """
        with self.changed:
            known, self._written_by = self._written_by, self.manager.failures
            if known != self.manager.failures:
                self._router.clear()
                self._part_router.clear()
                if known is not None:
                    raise self.manager.unavailable("the connection was made again: all is sent again")

    def _write(
        self, batch: Sequence[Write], reports: Sequence[Report], entries: RecordStore, deadline: float
    ) -> tuple[dict[str, int], dict[str, str]]:
        with self.changed:
            stamp = self._sender.stamp()
            routes = self._router.divide(batch, entries, stamp)
            parts = self._part_router.divide(reports, entries, stamp, routes[Route.JOURNAL])
            runs = {write.id: entries[write.id].stored.run for write in batch if write.id in entries}
        journal, keyframes, live = (
            _portions(routes[route], parts[route]) for route in (Route.JOURNAL, Route.KEYFRAME, Route.LIVE)
        )
        outcome = self._publish(journal, keyframes, live, stamp, deadline)
        with self.changed:
            run_tokens = entries.run_tokens(write.id for write in batch)
            for changes in (*keyframes, *live):
                run_tokens.update(self._advance(changes, stamp))
            self._router.note(routes, stamp.time)
            self._part_router.note(parts, stamp.time)
        return runs | outcome.runs, {**run_tokens, **outcome.run_tokens}

    def send(self, changes: Changes, deadline: float) -> Outcome:
        """Send requests and removals to the journal; return the outcome once it has brought them back."""
        self.follow(deadline)
        return self._publish([changes], [], [], self._sender.stamp(), deadline)

    def _publish(
        self,
        journal: Sequence[Changes],
        keyframes: Sequence[Changes],
        live: Sequence[Changes],
        stamp: Stamp,
        deadline: float,
    ) -> Outcome:
        """Publish; return when the broker has all messages, and the journal has brought back those sent to it."""
        messages, outcomes = [self._sender.message(each, stamp) for each in journal], self.streams.outcomes
        numbers = [message.number for message in messages]
        outgoing = [Outgoing(self._names.journal, "", JOURNAL, message.pack(), True) for message in messages]
        outgoing += self._outgoing(self._names.keyframes, KEYFRAME, keyframes, stamp, needed=True)
        outgoing += self._outgoing(self._names.live, LIVE, live, stamp)
        try:
            with self.changed:
                outcomes.expect(numbers)
            if outgoing:
                self.manager.publish(outgoing, deadline, lambda: outcomes.have(numbers))
        finally:
            with self.changed:
                outcome = outcomes.take(numbers)
        return outcome

    def _outgoing(
        self, exchange: str, kind: str, messages: Sequence[Changes], stamp: Stamp, needed: bool = False
    ) -> list[Outgoing]:
        packed = [self._sender.message(each, stamp).pack() for each in messages]
        return [Outgoing(exchange, "", kind, body, needed) for body in packed]

    def close(self) -> None:
        """Have the broker store the newest record of each job that goes on, and end the connection."""
        if self.manager.started:
            with suppress(BackendError):
                self._store_newest(monotonic() + LAST_SECONDS)
        self.manager.close()

    def _store_newest(self, deadline: float) -> None:
        with self.changed:
            unstored = _portions(self._router.store(0), self._part_router.store(0))
        if unstored:
            self.follow(deadline)
            self._publish([], unstored, [], self._sender.stamp(), deadline)

    # Called in the connection's thread.

    def _prepare(self, connection: Connection) -> Script:
        self._inbox = f"{self._names.inbox}.{token_hex(8)}"  # a lost connection may hold the last one for a while
        yield from declare(connection, self._names, self._size, self._inbox)
        yield from connection.open_publishing()
        self._channel = yield from connection.consume(self._inbox, INBOX_PREFETCH, self._take)
        if viewing := self._viewing:
            yield bind(self._channel, self._inbox, self._names.live)
        yield from self._clock.begin(connection, self._inbox)
        yield from self.streams.begin(connection, viewing)
        if self._viewing and not viewing:
            yield from self._view(connection)

    def _view(self, connection: Connection) -> Script:
        yield bind(self._channel, self._inbox, self._names.live)
        yield from self.streams.view(connection)

    def _lost(self) -> None:
        self.streams.lost()
        self._arrivals.clear()
        self._is_late_planned = False

    def _take(self, properties: Any, body: bytes) -> None:
        """Take a message from the inbox."""
        if properties.type == TIME:
            self._clock.take(properties, body)
            return
        message = int(body) if properties.type == PING else unpack(body)
        if message is not None and (isinstance(message, int) or message.sender != self._sender.name):
            with self.changed:
                self._arrivals.append(Arrival(message, properties.type == JOURNAL, monotonic()))
                self._handle_arrivals()

    def _handle_arrivals(self) -> None:
        """Handle the messages of the inbox, as far as the journal has brought those of which copies are among them."""
        active, connection = self.streams.active, self.manager.connection
        if active is None or connection is None:
            self._answered_since = monotonic()
            return
        while self._arrivals:
            message, is_copy, time = self._arrivals[0]
            if isinstance(message, int):
                self._returned_pings = message
                self.changed.notify_all()
            elif is_copy and active.folded.get(message.sender, -1) < message.number:
                left = max(time, self._answered_since) + BEHIND_SECONDS - monotonic()
                if left > 0:
                    if not self._is_late_planned:
                        self._is_late_planned = True
                        connection.ioloop.call_later(left, self._handle_late_arrivals)
                    return
            elif not is_copy:
                self._sender.note_order(message.stamp.order)
                self._advance(message.changes, message.stamp)
            self._arrivals.popleft()

    def _handle_late_arrivals(self) -> None:
        with self.changed:
            self._is_late_planned = False
            self._handle_arrivals()

    def _advance(self, changes: Changes, stamp: Stamp) -> Mapping[str, str]:
        """Fold and deliver what was sent beside the journal, by this process or another; return the run tokens."""
        outcome, active = self.streams.advance(changes, stamp), self.streams.active
        if active is not None:
            self.subscriptions.deliver(outcome.updated, active.entries, self.now())
        return outcome.run_tokens

    def _note_changes(self, outcome: Outcome) -> None:
        active = self.streams.active
        if active is not None:
            self.subscriptions.deliver(outcome.updated, active.entries, self.now())
            self.subscriptions.deliver_cancels(outcome.cancelled)
            self._handle_arrivals()

    def _greet(self) -> None:
        """Send to a process that has just joined the records that it cannot find in the broker."""
        stamp = self._sender.stamp()
        unstored = _portions(self._router.store(stamp.time), self._part_router.store(stamp.time))
        for outgoing in self._outgoing(self._names.keyframes, KEYFRAME, unstored, stamp):
            self.manager.send(outgoing)


def _portions(writes: Sequence[Write], reports: Sequence[Report]) -> list[Changes]:
    records = [Changes(part) for part in portions(writes, lambda write: len(write.body), PORTION)]
    return records + [Changes(reports=part) for part in portions(reports, lambda report: len(report.name), PORTION)]
