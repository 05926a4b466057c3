"""
A process among those that share the journal: its connection, its replica, and the messages that it sends.

A process that only writes follows the journal, without the bodies of the records; one that views receives all messages.
What it reads is as new as a call to a server would find it, see `lag`.
"""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

from progresskit.backends.barrier import Barrier
from progresskit.backends.changes import Changes, portions
from progresskit.backends.log import LogNode
from progresskit.errors import BackendError, BackendUnavailable
from progresskit.subscriptions import SubscriptionList

from .clock import TIME, Timekeeper
from .connection import Outgoing
from .feed import Feed
from .lag import JournalLag
from .manager import ConnectionManager
from .messages import PORTION, Sender, unpack
from .router import PartRouter, Router
from .sent import Route
from .stream_replica import JOURNAL, KEYFRAME, Events, StreamReplica
from .topology import Names, Size, declare, open_inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from progresskit.backends.replica import Outcome, Stamp
    from progresskit.parts import Report
    from progresskit.progress import Write
    from progresskit.record_store import RecordStore

    from .address import Address
    from .connection import Connection, Script
    from .replica import JournalReplica

BEHIND_SECONDS = 1.0
"""How long a read waits for messages to the journal that may never have arrived there."""

LAST_SECONDS = 1.5
"""How long closing waits until the broker has stored the newest records of jobs that go on."""

LIVE, BARRIER = "live", "barrier"
"""The types of the messages that no stream stores."""


class Replaced(BackendUnavailable):
    """Another journal has replaced the one that was followed; it is raised once."""


class Node(LogNode):
    """One of each backend and process."""

    def __init__(self, address: Address, prefix: str, ttl: float, clock: Callable[[], float] | None) -> None:
        self.manager = ConnectionManager(address, self._prepare, self._lost)
        self.changed = self.manager.changed
        self.subscriptions = SubscriptionList(self.changed)
        self.router, self.part_router = Router(), PartRouter()
        self._names, self._size = Names.of(prefix), Size(ttl, address.journal_bytes)
        self._timekeeper = Timekeeper(clock, self._names.clock)
        self._sender = Sender(self.now)
        self._barrier, self._lag = Barrier(self._ping), JournalLag()
        self.streams = StreamReplica(
            self._names,
            address.jobs,
            self._sender,
            self.manager,
            self.router.newest,
            self.part_router.newest,
            Events(self._note_changes, self._greet, self.subscriptions.report_gap),
        )
        self._inbox = ""

    def now(self) -> float:
        """Return the time by the broker's clock."""
        return self._timekeeper.now()

    # Called by callers.

    def follow(self, deadline: float, *, whole: bool = False) -> JournalReplica:
        """Return the replica that answers, once there is one; with `whole` one that has read the whole journal."""
        self.manager.wait_up(deadline)
        with self.changed:
            replica = self.streams.wait(deadline, whole=whole)
            if replica is None:
                raise self.manager.unavailable("earlier messages have not been read in time")
            return replica

    def ready(self, deadline: float, bodies: bool = False) -> RecordStore:
        """Connect, and follow the journal; with `bodies` all other messages too."""
        if bodies:
            with self.changed:
                self.streams.keep_bodies()
        return self.follow(deadline).entries

    def requests(self, deadline: float) -> RecordStore:
        """Return the entries; the journal brings requests without being asked."""
        return self.follow(deadline).entries

    def catch_up(self, deadline: float) -> RecordStore:
        """Return the entries, with all messages that the broker had for this process at the time of the call."""
        self.ready(deadline, bodies=True)
        self._barrier.wait(deadline)
        return self.follow(deadline).entries

    def _ping(self, deadline: float) -> None:
        with self.changed:
            self.manager.wait_up(deadline)
            if self.manager.blocked:
                return  # a broker that takes no messages passes none on
            if monotonic() >= deadline:
                raise self.manager.unavailable("no answer in time")
            connection, number = self.manager.ended, self._lag.next_ping()
            self.manager.send(Outgoing(self._names.private, self._inbox, BARRIER, str(number).encode(), False))
            self.changed.wait_for(
                lambda: self._lag.has_passed(number) or self.manager.blocked or self.manager.ended != connection,
                deadline - monotonic(),
            )
            if self.manager.ended != connection:
                raise self.manager.unavailable("the connection is lost")
            if self._lag.has_passed(number) or self.manager.blocked:
                return
        raise self.manager.time_out()

    def write(self, batch: Sequence[Write], deadline: float) -> dict[str, int]:
        """Send each record by its route; return when the broker has all, and the journal has returned the starts."""
        return self.write_with_reports(batch, (), deadline)[0]

    def write_with_reports(
        self, batch: Sequence[Write], reports: Sequence[Report], deadline: float
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Send each record and report by its route; return when the journal has returned all that it decides."""
        replica = self.follow(deadline, whole=bool(reports) or any(write.declaration for write in batch))
        self._check_journal()
        with self.changed:
            stamp, entries, connection = self._sender.stamp(), replica.entries, self.manager.ended
            routes = self.router.divide(batch, entries, stamp, connection)
            parts = self.part_router.divide(reports, entries, stamp, connection, routes[Route.JOURNAL])
            runs = {write.id: entries[write.id].stored.run for write in batch if write.id in entries}
        keyframes, live = (_portions(routes[route], parts[route]) for route in (Route.KEYFRAME, Route.LIVE))
        outcome = self._publish(
            _portions(routes[Route.JOURNAL], parts[Route.JOURNAL]), keyframes, live, stamp, deadline
        )
        with self.changed:
            run_tokens = entries.run_tokens(write.id for write in batch)
            for changes in (*keyframes, *live):
                run_tokens.update(self._advance(changes, stamp))
            self.router.note(routes, stamp.time)
            self.part_router.note(parts, stamp.time)
        return runs | outcome.runs, {**run_tokens, **outcome.run_tokens}

    def _check_journal(self) -> None:
        """Fail once after another journal has replaced the one that was followed: all records have to be sent again."""
        with self.changed:
            if self.streams.was_replaced():
                self.router.clear()
                self.part_router.clear()
                raise Replaced("the journal in RabbitMQ was lost or replaced: all is sent again")

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
        pack, names = self._sender.pack, self._names
        outcomes, numbers = self.streams.outcomes, [self._sender.number() for _ in journal]
        outgoing = [
            Outgoing(names.journal, "", JOURNAL, pack(number, stamp, each), True)
            for number, each in zip(numbers, journal, strict=True)
        ]
        outgoing += self._outgoing(names.keyframes, KEYFRAME, keyframes, stamp)
        outgoing += self._outgoing(names.live, LIVE, live, stamp)
        try:
            with self.changed:
                outcomes.expect(numbers)
            if outgoing:
                receipt = self.manager.publish(outgoing, deadline)
                self.manager.settle(receipt, deadline, lambda: outcomes.have(numbers))
        finally:
            with self.changed:
                outcome = outcomes.take(numbers)
        return outcome

    def _outgoing(self, exchange: str, kind: str, messages: Sequence[Changes], stamp: Stamp) -> list[Outgoing]:
        needed = kind == KEYFRAME
        return [
            Outgoing(exchange, "", kind, self._sender.pack(self._sender.number(), stamp, each), needed)
            for each in messages
        ]

    def close(self) -> None:
        """Have the broker store the newest record of each job that goes on, and end the connection."""
        if self.manager.started:
            with suppress(BackendError):
                self._store_newest(monotonic() + LAST_SECONDS)
        self.manager.close()

    def _store_newest(self, deadline: float) -> None:
        with self.changed:
            unstored = _portions(self.router.unstored(), self.part_router.unstored())
        if unstored:
            self.follow(deadline)
            self._publish([], unstored, [], self._sender.stamp(), deadline)

    # Called in the connection's thread.

    def _prepare(self, connection: Connection) -> Script:
        yield from declare(connection, self._names, self._size)
        yield from connection.open_publishing()
        self._inbox = f"{self._names.inbox}.{token_hex(8)}"  # a lost connection may hold the last one for a while
        feed = yield from Feed.of_queue(connection, self._take)
        yield from open_inbox(feed.channel, self._inbox, self._names, self.streams.bodies)
        yield from feed.begin(self._inbox)
        yield from self._timekeeper.begin(connection, self._inbox)
        yield from self.streams.begin(connection)

    def _lost(self) -> None:
        self.streams.lost()
        self._lag.reset()
        self._timekeeper.forget()

    def _take(self, properties: Any, body: bytes) -> None:
        """Take a message from the inbox."""
        if properties.type == TIME:
            self._timekeeper.take(properties, body)
        elif properties.type == BARRIER:
            self._take_ping(int(body))
        else:
            message = unpack(body, self.streams.bodies)
            if message is not None and message.sender != self._sender.name:
                with self.changed:
                    self._sender.note_order(message.stamp.order)
                    if properties.type == JOURNAL:  # a copy
                        self._lag.expect(message.sender, message.number, self.streams.fullest.folded)
                    else:
                        self._advance(message.changes, message.stamp)

    def _take_ping(self, number: int) -> None:
        with self.changed:
            active, connection = self.streams.active, self.manager.connection
            self._lag.ping_returned(number)
            self._lag.check(active.folded if active else {})
            if not self._lag.has_passed(number) and connection is not None:
                connection.ioloop.call_later(BEHIND_SECONDS, lambda: self._give_up(number))
            self.changed.notify_all()

    def _give_up(self, number: int) -> None:
        with self.changed:
            self._lag.give_up(number)
            self.changed.notify_all()

    def _advance(self, changes: Changes, stamp: Stamp) -> Mapping[str, str]:
        """Fold and deliver what was sent beside the journal, by this process or another; return the run tokens."""
        outcome = self.streams.advance(changes, stamp)
        if outcome.updated:
            self.subscriptions.deliver(outcome.updated, self.streams.fullest.entries, self.now())
        return outcome.run_tokens

    def _note_changes(self, outcome: Outcome) -> None:
        replica = self.streams.fullest
        self.subscriptions.deliver(outcome.updated, replica.entries, self.now())
        self.subscriptions.deliver_cancels(outcome.cancelled)
        self._lag.check(replica.folded)

    def _greet(self) -> None:
        """Send to a process that has just joined the records that it cannot find in the broker."""
        stamp = self._sender.stamp()
        unstored = _portions(self.router.store(stamp.time), self.part_router.store(stamp.time))
        for outgoing in self._outgoing(self._names.keyframes, KEYFRAME, unstored, stamp):
            self.manager.send(outgoing._replace(needed=False))


def _portions(writes: Sequence[Write], reports: Sequence[Report]) -> list[Changes]:
    records = [Changes(part) for part in portions(writes, lambda write: len(write.body), PORTION)]
    return records + [Changes(reports=part) for part in portions(reports, lambda report: len(report.name), PORTION)]
