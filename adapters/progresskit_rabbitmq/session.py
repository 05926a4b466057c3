"""
What a process has going with the broker: the link, what is followed by it, and those who listen.

A process that only writes follows the journal, without what the records say; one that views takes everything. What it
reads is as new as a call to a server would find it, see `barrier`.
"""

from __future__ import annotations

from secrets import token_hex
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, Any

from .barrier import Barrier
from .clock import TIME, Timekeeper
from .feed import Feed
from .following import JOURNAL, KEYFRAME, Events, Following
from .link import Link
from .messages import portions, unpack
from .sender import Sender
from .topology import Names, Size, declare, open_inbox
from .wire import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from progresskit.progress import Write

    from .address import Address
    from .listening import Ears
    from .messages import Stamp
    from .mirror import Mirror, News
    from .roads import Seed
    from .wire import Script, Wire

CALL_SECONDS = 5.0
"""How long a call may take."""

BEHIND_SECONDS = 1.0
"""How long a read waits for what others have sent to the journal, and may never have arrived there."""

SWEEP_SECONDS = 60.0
"""How often what has expired is forgotten."""

LIVE, BARRIER = "live", "barrier"


class Session:
    """
    One of each backend and process; made anew after a fork.

    `seeds` are the newest records that this process has sent, `keep` returns those of them that the broker does not
    keep, as it will from then on.
    """

    def __init__(
        self,
        address: Address,
        prefix: str,
        ttl: float,
        clock: Callable[[], float] | None,
        ears: Ears,
        seeds: Callable[[], Iterable[Seed]],
        keep: Callable[[float], Sequence[Write]],
    ) -> None:
        self.changed = Condition()
        self.names = Names.of(prefix)
        self._size = Size(ttl, address.journal_bytes)
        self._timekeeper = Timekeeper(clock, self.names.clock)
        self.now = self._timekeeper.now
        self.sender = Sender(self.now)
        self._ears, self._keep = ears, keep
        self._barrier = Barrier(self._send_barrier)
        self._link = Link(address, self.changed, self._script, self._lost)
        events = Events(self._tell, self._greet, ears.lost)
        self._following = Following(self.changed, self.names, address.jobs, self.sender, self._link, seeds, events)
        self._inbox = ""

    # What callers do; each raises BackendUnavailable by the deadline.

    def view(self) -> None:
        """Take everything from now on, what the records say included."""
        with self.changed:
            self._following.view()

    def follow(self, deadline: float) -> Mirror:
        """Return the mirror that answers now, once there is one; the lock guards it."""
        self._link.wait_up(deadline)
        with self.changed:
            mirror = self._following.wait(deadline)
            if mirror is None:
                raise self._link.unavailable("what was sent before has not been read in time")
            return mirror

    def catch_up(self, deadline: float) -> Mirror:
        """Return the mirror, with all in it that the broker had for this process at the time of the call."""
        self.follow(deadline)
        with self.changed:
            connection = self.connection
            if not self._link.blocked:
                number = self._barrier.ask()
                self.changed.wait_for(
                    lambda: self._barrier.passed(number) or self._link.blocked or self.connection != connection,
                    deadline - monotonic(),
                )
                if self.connection != connection:
                    raise self._link.unavailable("the connection is lost")
                if not self._barrier.passed(number) and not self._link.blocked:
                    self._link.reset("no answer in time")
                    raise self._link.unavailable("no answer in time")
        return self.follow(deadline)

    def send(self, outgoing: Sequence[Outgoing], mirror: Mirror, numbers: Sequence[int], deadline: float) -> None:
        """Publish; return when the broker has it all, and the mirror has folded what of it went to the journal."""
        with self.changed:
            mirror.wait_for(numbers)
        try:
            receipt = self._link.publish(outgoing, deadline)
            self._link.settle(receipt, deadline, lambda: mirror.came_back(numbers))
        except BaseException:
            with self.changed:
                mirror.outcome(numbers)  # nobody will ask for it
            raise

    def beside(self, writes: Sequence[Write], stamp: Stamp) -> None:
        """Take in, and tell, what was sent beside the journal, by this process or another."""
        with self.changed:
            if heard := self._following.beside(writes, stamp):
                self._ears.tell(heard, self._following.fullest.entries, self.now())

    def was_replaced(self) -> bool:
        """Tell, once, that another journal has taken the place of the one that was followed."""
        with self.changed:
            return self._following.was_replaced()

    @property
    def connection(self) -> int:
        """How many connections have ended."""
        return self._following.connection

    @property
    def begun(self) -> bool:
        """True once a connection was asked for."""
        return self._link.begun

    @property
    def plans(self) -> int:
        """How often the connection was made anew because that was wanted: what was under way can be done again."""
        return self._link.plans

    def close(self) -> None:
        """End the connection and its thread."""
        self._link.close()

    # What happens in the link's thread.

    def _script(self, wire: Wire) -> Script:
        yield from declare(wire, self.names, self._size)
        yield from wire.open_publishing()
        self._inbox = f"{self.names.inbox}.{token_hex(8)}"  # a lost connection may hold the last one for a while
        feed = yield from Feed.of_queue(wire, self._take)
        yield from open_inbox(feed.channel, self._inbox, self.names, self._following.viewing)
        yield from feed.begin(self._inbox)
        yield from self._timekeeper.begin(wire, self._inbox)
        wire.ioloop.call_later(SWEEP_SECONDS, lambda: self._sweep(wire))
        yield from self._following.begin(wire)

    def _lost(self) -> None:
        self._following.lost()
        self._barrier.reset()
        self._timekeeper.forget()

    def _sweep(self, wire: Wire) -> None:
        with self.changed:
            self._following.sweep(self.now())
        wire.ioloop.call_later(SWEEP_SECONDS, lambda: self._sweep(wire))

    def _take(self, properties: Any, body: bytes) -> None:
        """Take what has come to the inbox."""
        kind = properties.type
        if kind == TIME:
            self._timekeeper.take(properties, body)
        elif kind == BARRIER:
            self._take_barrier(int(body))
        else:
            message = unpack(body, self._following.viewing)
            if message is not None and message.sender != self.sender.name:
                with self.changed:
                    self.sender.saw(message.stamp.order)
                    if kind == JOURNAL:  # a copy
                        self._barrier.expect(message.sender, message.number, self._following.fullest.folded)
                    else:
                        self.beside(message.writes, message.stamp)

    def _tell(self, news: News) -> None:
        mirror = self._following.fullest
        self._ears.tell(news.heard, mirror.entries, self.now())
        self._ears.ask(news.cancelled)
        self._barrier.check(mirror.folded)

    def _greet(self) -> None:
        """Tell a process that has just come what it cannot find in the broker."""
        stamp = self.sender.stamp()
        for portion in portions(self._keep(stamp.time)):
            body = self.sender.pack(self.sender.number(), stamp, portion)
            self._link.say(Outgoing(self.names.keyframes, "", KEYFRAME, body, False))

    # The barrier.

    def _send_barrier(self, number: int) -> None:
        self._link.say(Outgoing(self.names.private, self._inbox, BARRIER, str(number).encode(), False))

    def _take_barrier(self, number: int) -> None:
        with self.changed:
            self._barrier.arrive(number)
            active = self._following.active
            self._barrier.check(active.folded if active else {})
            if not self._barrier.passed(number):
                self._link.later(BEHIND_SECONDS, lambda: self._give_up(number))
            self.changed.notify_all()

    def _give_up(self, number: int) -> None:
        with self.changed:
            self._barrier.give_up(number)
            self.changed.notify_all()
