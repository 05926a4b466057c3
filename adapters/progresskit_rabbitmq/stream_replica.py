"""
The replica that this process reads from the streams of the broker, from one connection to the next.

At first there are two replicas: a quick one of the recent part of the journal, which is small and shows the running
jobs, and the full one, which replaces it once it has read the whole journal. On a later connection the full one
continues from its last message, unless another journal has replaced the one that it has read.

A marker, which is sent to both streams at the beginning of a connection, shows when a replica has read all messages
that were there.
"""

from __future__ import annotations

from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.backends.changes import Changes
from progresskit.backends.replica import Outcome, Outcomes, Stamp

from .connection import Outgoing
from .feed import Feed
from .messages import unpack
from .replica import JournalReplica

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from progresskit.parts import Report
    from progresskit.progress import Write

    from .connection import Connection, Script
    from .manager import ConnectionManager
    from .messages import Message, Sender
    from .sent import Snapshot
    from .topology import Names

JOURNAL, KEYFRAME = "journal", "keyframe"
"""The types of the messages in the two streams."""

PATIENCE_SECONDS = 0.5
"""How long first calls wait for the whole journal; then the recent part of it answers them, if need be."""

RECENT, KEYFRAMES = "30s", "10m"
"""How far back the quick replica reads, and how far the full one reads keyframes, by the broker's clock."""

SAME_SECONDS = 2.0
"""How long a journal may take to show the last message that was read of it on an earlier connection."""

Place = tuple[int, str, int]
"""The offset of a message in the journal, its sender and its number."""


class Reading(NamedTuple):
    """A replica that reads on this connection, its feeds, and the streams in which it has not found the marker yet."""

    replica: JournalReplica
    feeds: dict[str, Feed]
    left: set[str]

    def end(self, stream: str) -> None:
        """Read a stream no further."""
        if stream in self.feeds:
            self.feeds.pop(stream).end()


class Events(NamedTuple):
    """The callbacks of a stream replica; they are called in the connection's thread, with the lock held."""

    changed: Callable[[Outcome], None]
    """The journal changed the replica that answers."""
    joined: Callable[[], None]
    """Another process has joined."""
    gap: Callable[[], None]
    """The replica is complete again, after messages may have been missed, or after answers from a part of it."""


class History(Enum):
    """How much of the journal answers."""

    UNREAD = auto()  # no call was answered yet
    PARTIAL = auto()  # calls were answered from the recent part
    WHOLE = auto()  # the full replica has read it; later connections continue from there


class CatchUp:
    """The progress of one connection in reading the streams."""

    def __init__(self, marker: int = 0) -> None:
        self.marker = marker
        self.quick: Reading | None = None
        self.expected: Place | None = None
        """The message that the journal has to show first, if it is the one that was read before."""
        self.patient_until = 0.0
        self._resume: Callable[[Any], None] | None = None

    @property
    def quick_replica(self) -> JournalReplica | None:
        """The quick replica, while there is one."""
        return None if self.quick is None else self.quick.replica

    def wait_quick(self, done: Callable[[Any], None]) -> None:
        """Call `done` once the quick replica can answer: a step of a script."""
        if self.quick is not None and self.quick.replica.ready:
            done(None)
        else:
            self._resume = done

    def quick_ready(self) -> None:
        """Continue the script that waits for the quick replica."""
        resume, self._resume = self._resume, None
        if resume is not None:
            resume(None)


class StreamReplica:
    """
    The full and the quick replica of a node; the manager's lock guards them.

    `snapshots` returns the records that this process itself has sent, and `part_snapshots` the reports of parts.
    """

    def __init__(
        self,
        names: Names,
        limit: int,
        sender: Sender,
        manager: ConnectionManager,
        snapshots: Callable[[], Iterable[Snapshot[Write]]],
        part_snapshots: Callable[[], Iterable[Snapshot[Report]]],
        events: Events,
    ) -> None:
        self._names, self._limit, self._sender = names, limit, sender
        self._manager, self._events = manager, events
        self._snapshots, self._part_snapshots = snapshots, part_snapshots
        self.bodies = False
        """True once the bodies of the records are kept as well."""
        self.outcomes = Outcomes()
        self._full = self._new_replica()
        self._history = History.UNREAD
        self._replaced = False
        self._catch_up = CatchUp()

    def _new_replica(self, *, counts_parts: bool = True) -> JournalReplica:
        return JournalReplica(bodies=self.bodies, limit=self._limit, outcomes=self.outcomes, counts_parts=counts_parts)

    # Called by callers, with the lock held.

    def keep_bodies(self) -> None:
        """Keep the bodies of the records from now on; the streams are read again for them."""
        if not self.bodies:
            self.bodies = True
            self._restart("it is made again, to receive whole records")

    def _restart(self, why: str) -> None:
        if self._history is History.WHOLE:
            self._history = History.UNREAD
        self._full = self._new_replica()
        self._manager.reset(why, planned=True)

    @property
    def active(self) -> JournalReplica | None:
        """The replica that answers, if there is one."""
        quick = self._catch_up.quick_replica
        if self._full.ready:
            return self._full
        return quick if quick is not None and quick.ready else None

    @property
    def fullest(self) -> JournalReplica:
        """The replica that answers, or will."""
        return self.active or self._full

    def wait(self, deadline: float, *, whole: bool = False) -> JournalReplica | None:
        """
        Return the replica that answers, with `whole` only the full one.

        None if there is none by the deadline, or the connection is lost.
        """
        changed, connection = self._manager.changed, self._manager.ended
        patient_until = deadline if whole else self._catch_up.patient_until
        changed.wait_for(lambda: self._full.ready or self._manager.ended != connection, patient_until - monotonic())
        if whole:
            return self._full if self._full.ready else None
        changed.wait_for(lambda: self.active or self._manager.ended != connection, deadline - monotonic())
        replica = self.active
        if replica is not None and replica is not self._full:
            self._history = History.PARTIAL
        return replica

    def was_replaced(self) -> bool:
        """Return, once, whether another journal has replaced the one that was read."""
        replaced, self._replaced = self._replaced, False
        return replaced

    def advance(self, changes: Changes, stamp: Stamp) -> Outcome:
        """Fold what did not come by a stream; return the outcome in the replica that answers."""
        active, outcome = self.active, Outcome({})
        for replica in (self._full, self._catch_up.quick_replica):
            if replica is not None:
                ids = replica.advance(changes.writes, stamp)
                counted = replica.raise_parts(changes.reports, stamp)
                if replica is active:
                    outcome = Outcome({}, updated=ids, run_tokens=replica.entries.run_tokens(counted))
        return outcome

    def lost(self) -> None:
        """Expect no message any more: the connection has ended."""
        self._full.ready = False
        self._catch_up = CatchUp()

    # Called in the connection's thread.

    def begin(self, connection: Connection) -> Script:
        """Read the streams by a new connection."""
        self._catch_up = catch_up = CatchUp(self._sender.number())
        marker = self._sender.pack(catch_up.marker, self._sender.stamp(), Changes())
        connection.publish(
            [
                Outgoing(self._names.journal, "", JOURNAL, marker, True),
                Outgoing(self._names.keyframes, "", KEYFRAME, marker, True),
            ]
        )
        if self._history is not History.WHOLE:
            catch_up.quick = self._reading(self._new_replica(counts_parts=False))
            yield from self._read(connection, catch_up.quick, RECENT, RECENT)
            yield catch_up.wait_quick
        catch_up.patient_until = monotonic() + PATIENCE_SECONDS
        catch_up.expected = self._full.place
        if catch_up.expected is not None:
            connection.ioloop.call_later(SAME_SECONDS, lambda: self._check_same(None))
        start = "first" if catch_up.expected is None else catch_up.expected[0]
        yield from self._read(connection, self._reading(self._full), start, KEYFRAMES)

    def _reading(self, replica: JournalReplica) -> Reading:
        return Reading(replica, {}, {JOURNAL, KEYFRAME} if self.bodies else {JOURNAL})

    def _read(self, connection: Connection, reading: Reading, journal: object, keyframes: object) -> Script:
        if reading.replica.place is None:
            self._fold_snapshots(reading.replica)
        take = self._taking(reading, self._take_journal)
        reading.feeds[JOURNAL] = yield from Feed.of_stream(connection, self._names.journal, journal, take)
        if self.bodies:
            take = self._taking(reading, self._take_keyframe)
            reading.feeds[KEYFRAME] = yield from Feed.of_stream(connection, self._names.keyframes, keyframes, take)

    def _fold_snapshots(self, replica: JournalReplica) -> None:
        """Fold what this process has sent beside the journal, which the broker need not have stored."""
        with self._manager.changed:
            for report, time, journalled in self._part_snapshots():
                if not journalled:
                    replica.raise_parts([report], Stamp(time, time))
            for write, time, journalled in self._snapshots():
                if not journalled:  # else it comes in its order, before which it might have another effect
                    replica.advance([write], Stamp(time, time))

    def _taking(self, reading: Reading, take: Callable[[Reading, Message, Any], None]) -> Callable[[Any, bytes], None]:
        def taking(properties: Any, body: bytes) -> None:
            message = unpack(body, reading.replica.bodies)
            if message is not None:
                with self._manager.changed:
                    take(reading, message, properties)
                    self._manager.changed.notify_all()

        return taking

    def _take_journal(self, reading: Reading, message: Message, properties: Any) -> None:
        replica, own = reading.replica, message.sender == self._sender.name
        place = properties.headers["x-stream-offset"], message.sender, message.number
        if replica is self._full and self._catch_up.expected is not None:
            self._check_same(place)
            return
        if replica is not self._full and reading is not self._catch_up.quick:
            return
        outcome = replica.fold_journal(message, place[0], own)
        self._sender.note_order(replica.order)
        if replica is self.active:
            self._events.changed(outcome)
        if own and message.number == self._catch_up.marker:
            self._pass_marker(reading, JOURNAL)
        elif own:
            self._answer_from(reading)
        elif not any(message.changes) and replica is self.active:
            self._events.joined()

    def _take_keyframe(self, reading: Reading, message: Message, properties: Any) -> None:
        reading.replica.advance(message.changes.writes, message.stamp)
        reading.replica.raise_parts(message.changes.reports, message.stamp)
        self._sender.note_order(message.stamp.order)
        if message.sender == self._sender.name and message.number == self._catch_up.marker:
            reading.end(KEYFRAME)
            self._pass_marker(reading, KEYFRAME)

    def _check_same(self, place: Place | None) -> None:
        """Read from the beginning if the journal is not the one that was read before."""
        expected, self._catch_up.expected = self._catch_up.expected, None
        if expected is not None and place != expected:
            with self._manager.changed:
                self._replaced = True
                self._restart("another journal has replaced the one that was read")

    def _pass_marker(self, reading: Reading, stream: str) -> None:
        """Note that a replica has read all messages of a stream that were sent before this connection."""
        reading.left.discard(stream)
        self._answer_from(reading)

    def _answer_from(self, reading: Reading) -> None:
        """Have a replica answer as soon as it may."""
        replica = reading.replica
        if reading.left or replica.ready or (replica is self._full and self._is_behind()):
            return
        replica.ready = True
        replica.fold_held()
        for write, time, journalled in self._snapshots():
            if journalled:
                replica.restore(write, Stamp(time, time))
        if replica is self._full:
            self._note_whole()
        else:
            self._catch_up.quick_ready()

    def _is_behind(self) -> bool:
        """Return True while the quick replica has folded later messages of this process, which it may have answered."""
        name, quick = self._sender.name, self._catch_up.quick_replica
        return quick is not None and self._full.folded.get(name, -1) < quick.folded.get(name, -1)

    def _note_whole(self) -> None:
        gap = self._manager.ended > 0 or self._history is History.PARTIAL
        quick, self._catch_up.quick = self._catch_up.quick, None
        self._history = History.WHOLE
        if quick is not None:
            quick.end(JOURNAL)
        if gap:
            self._events.gap()
