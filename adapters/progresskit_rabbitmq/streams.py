"""
The replica that this process reads from the streams of the broker, from one connection to the next.

At first there are two: a quick one of the recent part of the journal, which is small and shows the running jobs, and
the full one, which replaces it once it has read the whole journal. On a later connection the full one continues from
its last message, unless another journal has replaced the one that it has read.

A marker, which is sent to a stream when it begins to be read, shows when all messages have been read that were there.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.backends.changes import Changes
from progresskit.backends.replica import Outcome, Outcomes, Stamp

from .connection import STREAM_PREFETCH, Outgoing
from .messages import unpack
from .replica import JournalReplica, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.channel import Channel

    from .connection import Connection, Script
    from .manager import ConnectionManager
    from .messages import Message, Sender
    from .topology import Names

JOURNAL, KEYFRAME = "journal", "keyframe"
"""The types of the messages in the two streams."""

PATIENCE_SECONDS = 0.5
"""How long first calls wait for the whole journal; then the recent part of it answers them, if need be."""

RECENT, KEYFRAMES = "30s", "10m"
"""How far back the quick replica reads, and how far the full one reads keyframes, by the broker's clock."""

OVERLAP_SECONDS = 60
"""How much of what a replica has read before is read again, to see that the journal is the same."""


class Reading(NamedTuple):
    """A replica that reads on this connection, its channels, and the streams in which the marker was not found yet."""

    replica: JournalReplica
    channels: dict[str, Channel]
    left: set[str]

    def end(self, *streams: str) -> None:
        """Read these streams, or all, no further."""
        for stream in streams or [*self.channels]:
            channel = self.channels.pop(stream, None)
            if channel is not None and channel.is_open:
                channel.close()


class Events(NamedTuple):
    """The callbacks of the streams; they are called in the connection's thread, with the lock held."""

    changed: Callable[[Outcome], None]
    """The journal changed the replica that answers, or another one answers."""
    joined: Callable[[], None]
    """Another process has joined."""
    gap: Callable[[], None]
    """The replica is complete again, after messages may have been missed, or after answers from a part of it."""


class Streams:
    """The full and the quick replica of a node; the manager's lock guards them."""

    def __init__(self, names: Names, limit: int, sender: Sender, manager: ConnectionManager, events: Events) -> None:
        self._names, self._limit, self._sender = names, limit, sender
        self._manager, self._events = manager, events
        self.outcomes = Outcomes()
        self._full = JournalReplica(limit, self.outcomes)
        self._read_until = 0.0
        """When the last message of the journal was sent that the full replica has read, by the broker's clock."""
        self._was_whole = self._was_partial = False
        self.lost()

    def lost(self) -> None:
        """Expect no message any more: the connection has ended."""
        self._full.ready = False
        self._readings: list[Reading] = []
        self._marker = 0
        self._patient_until = 0.0
        self._on_quick: Callable[[Any], None] | None = None

    # Called with the lock held.

    @property
    def active(self) -> JournalReplica | None:
        """The replica that answers, if there is one."""
        ready = [reading.replica for reading in self._readings if reading.replica.ready]
        return ready[-1] if ready else None  # the full one is the last

    def wait(self, deadline: float, *, whole: bool = False) -> JournalReplica | None:
        """
        Return the replica that answers, with `whole` only the full one.

        None if there is none by the deadline, or the connection is lost.
        """
        changed, connection = self._manager.changed, self._manager.failures
        patient_until = deadline if whole else self._patient_until
        changed.wait_for(lambda: self._full.ready or self._manager.failures != connection, patient_until - monotonic())
        if not whole:
            changed.wait_for(lambda: self.active or self._manager.failures != connection, deadline - monotonic())
        replica = self._full if whole else self.active
        self._was_partial = self._was_partial or replica is not self._full
        return replica if replica is not None and replica.ready else None

    def advance(self, changes: Changes, stamp: Stamp) -> Outcome:
        """Fold what came beside the journal; return the outcome in the replica that answers."""
        active, outcome = self.active, Outcome({})
        for reading in self._readings:
            folded = reading.replica.advance(changes, stamp)
            outcome = folded if reading.replica is active else outcome
        return outcome

    # Called in the connection's thread.

    def begin(self, connection: Connection, viewing: bool) -> Script:
        """Read the journal by a new connection, and the keyframes for a process that views."""
        self._send_markers(connection, [JOURNAL, KEYFRAME] if viewing else [JOURNAL])
        if not self._was_whole:
            quick = JournalReplica(self._limit, self.outcomes, counts_parts=False)
            yield from self._read(connection, quick, RECENT, RECENT if viewing else None)
            yield partial(setattr, self, "_on_quick")
        self._patient_until = monotonic() + PATIENCE_SECONDS
        unread = max(self._sender.stamp().time - self._read_until, 0) + OVERLAP_SECONDS
        journal = "first" if self._full.place is None else f"{int(unread)}s"
        yield from self._read(connection, self._full, journal, KEYFRAMES if viewing else None)

    def view(self, connection: Connection) -> Script:
        """Read the keyframes as well, from now on."""
        with self._manager.changed:
            for reading in self._readings:
                reading.replica.ready = False
                reading.left.add(KEYFRAME)
        self._send_markers(connection, [JOURNAL, KEYFRAME])  # in the journal, so that others send their newest records
        for reading in self._readings:
            yield from self._read_keyframes(connection, reading, KEYFRAMES)

    def _send_markers(self, connection: Connection, streams: list[str]) -> None:
        marker = self._sender.message(Changes())
        self._marker = marker.number
        exchanges = {JOURNAL: self._names.journal, KEYFRAME: self._names.keyframes}
        connection.publish([Outgoing(exchanges[stream], "", stream, marker.pack(), True) for stream in streams])

    def _read(self, connection: Connection, replica: JournalReplica, journal: str, keyframes: str | None) -> Script:
        reading = Reading(replica, {}, {JOURNAL, KEYFRAME} if keyframes else {JOURNAL})
        with self._manager.changed:
            self._readings.append(reading)
        take = self._taking(reading, self._take_journal)
        reading.channels[JOURNAL] = yield from connection.consume(self._names.journal, STREAM_PREFETCH, take, journal)
        if keyframes:
            yield from self._read_keyframes(connection, reading, keyframes)

    def _read_keyframes(self, connection: Connection, reading: Reading, since: str) -> Script:
        take, stream = self._taking(reading, self._take_keyframe), self._names.keyframes
        reading.channels[KEYFRAME] = yield from connection.consume(stream, STREAM_PREFETCH, take, since)

    def _taking(self, reading: Reading, take: Callable[[Reading, Message, Any], None]) -> Callable[[Any, bytes], None]:
        def taking(properties: Any, body: bytes) -> None:
            message = unpack(body)
            if message is not None:
                with self._manager.changed:
                    if reading in self._readings:
                        take(reading, message, properties)
                        self._manager.changed.notify_all()

        return taking

    def _take_journal(self, reading: Reading, message: Message, properties: Any) -> None:
        replica, own = reading.replica, message.sender == self._sender.name
        is_marker = own and message.number == self._marker
        place = Place(properties.headers["x-stream-offset"], message.sender, message.number)
        if replica.place is not None and place.offset <= replica.place.offset:
            if is_marker or (place.offset == replica.place.offset and place != replica.place):
                replica.place = None
                self._manager.reset("another journal has replaced the one that was read")
            return
        outcome = replica.fold_journal(message, place, own)
        self._sender.note_order(replica.order)
        if replica is self._full:
            self._read_until = message.stamp.time
        if is_marker:
            reading.left.discard(JOURNAL)
        if own:
            self._answer_from(reading)
        if replica is self.active:
            self._events.changed(outcome)
            if not own and not any(message.changes):
                self._events.joined()

    def _take_keyframe(self, reading: Reading, message: Message, properties: Any) -> None:
        reading.replica.advance(message.changes, message.stamp)
        self._sender.note_order(message.stamp.order)
        if message.sender == self._sender.name and message.number == self._marker:
            reading.end(KEYFRAME)
            reading.left.discard(KEYFRAME)
            self._answer_from(reading)

    def _answer_from(self, reading: Reading) -> None:
        """Have a replica answer as soon as it may: the full one once it is not behind what the quick one answered."""
        replica, name, quick = reading.replica, self._sender.name, self._readings[0].replica
        is_behind = replica.folded.get(name, -1) < quick.folded.get(name, -1)
        if reading.left or replica.ready or is_behind:
            return
        replica.become_ready()
        if replica is self._full:
            for other in self._readings[:-1]:
                other.end()
            self._readings = [reading]
            gap = self._manager.failures > 0 or self._was_partial
            self._was_whole, self._was_partial = True, False
            if gap:
                self._events.gap()
        on_quick, self._on_quick = self._on_quick, None
        if on_quick is not None:
            on_quick(None)
        self._events.changed(Outcome({}))
