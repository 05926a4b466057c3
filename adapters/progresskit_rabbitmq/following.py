"""
How this process follows what the broker keeps, from one connection to the next.

At first there are two mirrors: a quick one of what is new, which is little and says which jobs are running, and the
full one, which takes the place of it as soon as it has everything. On a later connection the full one goes on where it
was, unless another journal has taken the place of its own.

A marker, which is sent to both streams at the beginning of a connection, shows when a mirror has all that was there.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from .feed import Feed
from .messages import Stamp, unpack
from .mirror import Mirror
from .wire import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import Condition

    from progresskit.progress import Write

    from .link import Link
    from .messages import Message
    from .mirror import News, Outcome
    from .roads import Seed
    from .sender import Sender
    from .topology import Names
    from .wire import Script, Wire

JOURNAL, KEYFRAME = "journal", "keyframe"
"""The types of the messages in the two streams."""

PATIENCE_SECONDS = 0.5
"""How long first calls wait for the whole journal; then they are answered from the recent part of it, if need be."""

RECENT, KEYFRAMES = "30s", "10m"
"""How far back is read for a first answer, and of the keyframes for the whole one, by the broker's clock."""

SAME_SECONDS = 2.0
"""How long a journal that is followed again may take to show the last message that is known of it."""


class Reading(NamedTuple):
    """A mirror that is fed on this connection, what feeds it, and which streams have not shown it the marker yet."""

    mirror: Mirror
    feeds: dict[str, Feed]
    left: set[str]

    def end(self, stream: str) -> None:
        """Read a stream no further."""
        if stream in self.feeds:
            self.feeds.pop(stream).end()


class Events(NamedTuple):
    """What is called in the link's thread, with the lock held."""

    told: Callable[[News], None]
    """The journal brought something to the mirror that answers."""
    joined: Callable[[], None]
    """Another process has come."""
    restored: Callable[[], None]
    """All is known again, after something may have been missed or answered from a part of it."""


class Following:
    """The mirrors of a session; `changed` guards them. `seeds` are the records that this process itself has sent."""

    def __init__(
        self,
        changed: Condition,
        names: Names,
        limit: int,
        sender: Sender,
        link: Link,
        seeds: Callable[[], Iterable[Seed]],
        events: Events,
    ) -> None:
        self._changed, self._names, self._limit, self._sender = changed, names, limit, sender
        self._link, self._seeds, self._events = link, seeds, events
        self.viewing = False
        """True once the bodies of the records are kept as well."""
        self.connection = 0
        """How many connections have ended."""
        self._awaited: dict[int, Outcome | None] = {}
        self._full = self._mirror()
        self._quick: Reading | None = None
        self._marker = 0
        self._same: tuple[int, str, int] | None = None
        self._loaded = self._provisional = self._replaced = False
        self._patient_until = 0.0
        self._done_quick: Callable[[Any], None] | None = None

    def _mirror(self) -> Mirror:
        return Mirror(bodies=self.viewing, limit=self._limit, awaited=self._awaited)

    # What callers do, with the lock held.

    def view(self) -> None:
        """Keep everything from now on, what the records say included."""
        if not self.viewing:
            self.viewing, self._loaded = True, False
            self._full = self._mirror()
            self._link.reset("it is made anew, to take in more", planned=True)

    @property
    def active(self) -> Mirror | None:
        """The mirror that answers, if there is one."""
        if self._full.ready:
            return self._full
        return self._quick.mirror if self._quick is not None and self._quick.mirror.ready else None

    @property
    def fullest(self) -> Mirror:
        """The one that answers, or will."""
        return self.active or self._full

    def wait(self, deadline: float) -> Mirror | None:
        """Return the mirror that answers; None if there is none by the deadline, or the connection is lost."""
        connection = self.connection
        self._changed.wait_for(
            lambda: self._full.ready or self.connection != connection, self._patient_until - monotonic()
        )
        self._changed.wait_for(lambda: self.active or self.connection != connection, deadline - monotonic())
        mirror = self.active
        self._provisional |= mirror is not None and mirror is not self._full
        return mirror

    def was_replaced(self) -> bool:
        """Tell, once, that another journal has taken the place of ours."""
        replaced, self._replaced = self._replaced, False
        return replaced

    # What happens in the link's thread.

    def begin(self, wire: Wire) -> Script:
        """Read what the broker keeps, on a new connection."""
        self._marker = self._sender.number()
        marker = self._sender.pack(self._marker, self._sender.stamp())
        wire.publish(
            [
                Outgoing(self._names.journal, "", JOURNAL, marker, True),
                Outgoing(self._names.keyframes, "", KEYFRAME, marker, True),
            ]
        )
        if not self._loaded:
            self._quick = self._reading(self._mirror())
            yield from self._read(wire, self._quick, RECENT, RECENT)
            yield self._when_quick
        self._patient_until = monotonic() + PATIENCE_SECONDS
        self._same = self._full.place
        if self._same is not None:
            wire.ioloop.call_later(SAME_SECONDS, lambda: self._check_same(None))
        start = "first" if self._same is None else self._same[0]
        yield from self._read(wire, self._reading(self._full), start, KEYFRAMES)

    def _reading(self, mirror: Mirror) -> Reading:
        return Reading(mirror, {}, {JOURNAL, KEYFRAME} if self.viewing else {JOURNAL})

    def _read(self, wire: Wire, reading: Reading, journal: object, keyframes: object) -> Script:
        if reading.mirror.place is None:
            self._sow(reading.mirror)
        take = self._taking(reading, self._take_journal)
        reading.feeds[JOURNAL] = yield from Feed.of_stream(wire, self._names.journal, journal, take)
        if self.viewing:
            take = self._taking(reading, self._take_keyframe)
            reading.feeds[KEYFRAME] = yield from Feed.of_stream(wire, self._names.keyframes, keyframes, take)

    def _when_quick(self, done: Callable[[Any], None]) -> None:
        if self._quick is not None and self._quick.mirror.ready:
            done(None)
        else:
            self._done_quick = done

    def _sow(self, mirror: Mirror) -> None:
        """Give the mirror what this process itself has sent beside the journal, and the broker need not have kept."""
        with self._changed:
            for write, time, journalled in self._seeds():
                if not journalled:  # else it comes in its turn, and before that it might count where it did not
                    mirror.beside([write], Stamp(time, time))

    def lost(self) -> None:
        """Count on nothing that was going on; called with the lock held."""
        self._full.ready, self._quick = False, None
        self.connection += 1
        self._done_quick = None

    def beside(self, writes: Iterable[Write], stamp: Stamp) -> list[str]:
        """Take in what did not come by a stream; return what the mirror that answers has heard of by it."""
        writes, active, told = list(writes), self.active, list[str]()
        for mirror in (self._full, self._quick.mirror if self._quick is not None else None):
            if mirror is not None:
                heard = mirror.beside(writes, stamp)
                told = heard if mirror is active else told
        return told

    def sweep(self, now: float) -> None:
        """Forget what has expired."""
        self._full.entries.sweep(now)

    # What the streams bring.

    def _taking(self, reading: Reading, take: Callable[[Reading, Message, Any], None]) -> Callable[[Any, bytes], None]:
        def taking(properties: Any, body: bytes) -> None:
            message = unpack(body, reading.mirror.bodies)
            if message is not None:
                with self._changed:
                    take(reading, message, properties)
                    self._changed.notify_all()

        return taking

    def _take_journal(self, reading: Reading, message: Message, properties: Any) -> None:
        mirror, own = reading.mirror, message.sender == self._sender.name
        place = properties.headers["x-stream-offset"], message.sender, message.number
        if mirror is self._full and self._same is not None:
            self._check_same(place)
            return
        if mirror is not self._full and reading is not self._quick:
            return
        news = mirror.journal(message, place[0], own)
        self._sender.saw(mirror.order)
        if mirror is self.active:
            self._events.told(news)
        if own and message.number == self._marker:
            self._pass_marker(reading, JOURNAL)
        elif own:
            self._take_over(reading)
        elif not (message.writes or message.cancels or message.forgets) and mirror is self.active:
            self._events.joined()

    def _take_keyframe(self, reading: Reading, message: Message, properties: Any) -> None:
        reading.mirror.beside(message.writes, message.stamp)
        self._sender.saw(message.stamp.order)
        if message.sender == self._sender.name and message.number == self._marker:
            reading.end(KEYFRAME)
            self._pass_marker(reading, KEYFRAME)

    def _check_same(self, place: tuple[int, str, int] | None) -> None:
        """Begin anew if the journal is not the one that was followed before."""
        if self._same is None:
            return
        same, self._same = self._same, None
        if place != same:
            with self._changed:
                self._full = self._mirror()
                self._loaded, self._replaced = False, True
                self._link.reset("another journal has taken the place of the one that was followed", planned=True)

    def _pass_marker(self, reading: Reading, stream: str) -> None:
        """Note that a mirror has all of a stream that was sent before this connection."""
        reading.left.discard(stream)
        self._take_over(reading)

    def _take_over(self, reading: Reading) -> None:
        """Have a mirror answer as soon as it may."""
        mirror = reading.mirror
        if reading.left or mirror.ready or (mirror is self._full and self._is_behind()):
            return
        mirror.ready = True
        mirror.open_held()
        for write, time, journalled in self._seeds():
            if journalled:
                mirror.restore(write, Stamp(time, time))
        if mirror is self._full:
            self._has_all()
        else:
            done, self._done_quick = self._done_quick, None
            if done is not None:
                done(None)

    def _is_behind(self) -> bool:
        """Tell whether the quick mirror has seen more of what this process has sent: so much may have been answered."""
        name, quick = self._sender.name, self._quick
        return quick is not None and self._full.folded.get(name, -1) < quick.mirror.folded.get(name, -1)

    def _has_all(self) -> None:
        again = self.connection > 0 or self._provisional
        quick, self._quick = self._quick, None
        self._loaded, self._provisional = True, False
        if quick is not None:
            quick.end(JOURNAL)
        if again:
            self._events.restored()
