"""The backend: records by way of a journal and a fanout, folded in each process that wants to know them."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from progresskit.abc import Backend, SupportsCancelPush, SupportsListing, SupportsPush
from progresskit.backends import keep_inherited
from progresskit.errors import BackendError, BackendUnavailable

from .address import parse
from .following import JOURNAL, KEYFRAME
from .listening import Ear, Ears
from .messages import portions
from .roads import Road, Roads
from .session import CALL_SECONDS, LIVE, Session
from .wire import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from pika.connection import Parameters

    from progresskit.abc import Subscription
    from progresskit.config import Settings
    from progresskit.progress import Progress, State, Write
    from progresskit.record_store import RecordStore

    from .messages import Stamp

Answer = TypeVar("Answer")

LAST_SECONDS = 1.5
"""How long closing waits until the newest records of jobs that go on are kept."""


class Replaced(BackendUnavailable):
    """Another journal has taken the place of the one that was followed, which is told once."""


class RabbitMQBackend(Backend, SupportsPush, SupportsCancelPush, SupportsListing):
    """
    Sends through RabbitMQ, and keeps what was sent in the memory of each process that reads or writes.

    `broker` is a URL, or pika's parameters. `ttl` (seconds) and `journal_bytes` bound the journal where it is not there
    yet, `jobs` bounds what a process remembers. `clock` (seconds since the epoch) takes the place of the broker's.
    """

    def __init__(
        self,
        broker: str | Parameters,
        *,
        prefix: str = "progresskit",
        clock: Callable[[], float] | None = None,
        ttl: float = 86_400.0,
        journal_bytes: int | None = None,
        jobs: int | None = None,
    ) -> None:
        self._address = parse(broker, {"journal_bytes": journal_bytes, "jobs": jobs})
        self._prefix, self._clock, self._ttl = prefix, clock, ttl
        self._begin()

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> RabbitMQBackend:
        """Make the backend of a URL as pika.URLParameters takes it."""
        return cls(url, prefix=settings.prefix, ttl=settings.ttl)

    def _begin(self) -> None:
        self._ears = Ears()
        self._roads = Roads()
        self._session = Session(
            self._address, self._prefix, self._ttl, self._clock, self._ears, self._roads.newest, self._roads.keep
        )

    def _call(self, act: Callable[[float], Answer]) -> Answer:
        """Call with a deadline; once more if the connection was made anew meanwhile because we wanted that."""
        deadline, plans = monotonic() + CALL_SECONDS, self._session.plans
        try:
            return act(deadline)
        except Replaced:
            raise  # else nobody would know of it
        except BackendUnavailable:
            if self._session.plans == plans:
                raise
        return act(deadline)

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Send each record its way; return when the broker has all, and the journal has told the run of each start."""
        return self._call(lambda deadline: self._write(batch, deadline)) if batch else {}

    def _write(self, batch: Sequence[Write], deadline: float) -> dict[str, int]:
        session = self._session
        mirror = session.follow(deadline)
        self._check_home()
        with session.changed:
            stamp = session.sender.stamp()
            now = stamp.time
            self._roads.reconnected(session.connection)
            entries = {write.id: mirror.entries.living(write.id, now) for write in batch}
            roads: dict[Road, list[Write]] = {road: [] for road in Road}
            for write in batch:
                entry = entries[write.id]
                # Who has nothing of the job from before it learns by it when the first run was created.
                born = entry.stored.born if entry is not None else write.created
                roads[self._roads.choose(write, entry, stamp)].append(write._replace(created=born or write.created))
        outgoing, numbers = self._outgoing(roads, stamp)
        if outgoing:
            session.send(outgoing, mirror, numbers, deadline)
        with session.changed:
            session.beside([*roads[Road.KEYFRAME], *roads[Road.LIVE]], stamp)
            for road in (Road.JOURNAL, Road.KEYFRAME, Road.LIVE):
                for write in roads[road]:
                    self._roads.note(write, road, now)
            runs = {id: entry.stored.run for id, entry in entries.items() if entry is not None}
            return runs | mirror.outcome(numbers).runs

    def _check_home(self) -> None:
        """Fail once after another journal took the place of ours: all has to be sent again."""
        if self._session.was_replaced():
            self._roads.clear()
            raise Replaced("the journal in RabbitMQ was lost or replaced: all is sent again")

    def _outgoing(self, roads: dict[Road, list[Write]], stamp: Stamp) -> tuple[list[Outgoing], list[int]]:
        sender, names = self._session.sender, self._session.names
        outgoing, numbers = list[Outgoing](), list[int]()
        for portion in portions(roads[Road.JOURNAL]):
            number = sender.number()
            numbers.append(number)
            outgoing.append(Outgoing(names.journal, "", JOURNAL, sender.pack(number, stamp, portion), True))
        for road, exchange, kind, needed in (
            (Road.KEYFRAME, names.keyframes, KEYFRAME, True),
            (Road.LIVE, names.live, LIVE, False),
        ):
            for portion in portions(roads[road]):
                body = sender.pack(sender.number(), stamp, portion)
                outgoing.append(Outgoing(exchange, "", kind, body, needed))
        return outgoing, numbers

    def read(self, ids: Collection[str]) -> dict[str, Progress]:
        """Return those that are known, from memory, after one message to ourselves and back."""
        return self._look(lambda entries, now: entries.read(ids, now)) if ids else {}

    def list(self, *, kind: str | None, states: Collection[State] | None, limit: int) -> list[Progress]:
        """Return the jobs heard of last, newest first, of those that this process remembers."""
        return self._look(lambda entries, now: entries.list(kind, states, limit, now))

    def _look(self, ask: Callable[[RecordStore, float], Answer]) -> Answer:
        def look(deadline: float) -> Answer:
            self._session.view()
            mirror = self._session.catch_up(deadline)
            with self._session.changed:
                return ask(mirror.entries, self._session.now())

        return self._call(look)

    def request_cancel(self, ids: Collection[str]) -> set[str]:
        """Ask by the journal, and wait until it tells which of them are known and not done there."""
        return self._call(lambda deadline: self._cancel([*dict.fromkeys(ids)], deadline)) if ids else set()

    def _cancel(self, ids: Sequence[str], deadline: float) -> set[str]:
        session = self._session
        mirror = session.follow(deadline)
        number = session.sender.number()
        body = session.sender.pack(number, session.sender.stamp(), cancels=ids)
        session.send([Outgoing(session.names.journal, "", JOURNAL, body, True)], mirror, [number], deadline)
        with session.changed:
            return mirror.outcome([number]).cancelled

    def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Return those that are asked to stop, from memory."""

        def look(deadline: float) -> set[str]:
            mirror = self._session.follow(deadline)
            with self._session.changed:
                return mirror.entries.cancel_requested(ids, self._session.now())

        return self._call(look) if ids else set()

    def forget(self, ids: Collection[str]) -> set[str]:
        """Have all processes forget those that are done or stalled, by a message that stays in the journal."""
        return self._call(lambda deadline: self._forget(ids, deadline)) if ids else set()

    def _forget(self, ids: Collection[str], deadline: float) -> set[str]:
        session = self._session
        session.view()  # without all that is told to viewers it is not known which jobs are stalled
        mirror = session.catch_up(deadline)
        with session.changed:
            tombstones = mirror.entries.forgettable(dict.fromkeys(ids), session.now())
        if not tombstones:
            return set()
        number = session.sender.number()
        body = session.sender.pack(number, session.sender.stamp(), forgets=tombstones)
        session.send([Outgoing(session.names.journal, "", JOURNAL, body, True)], mirror, [number], deadline)
        with session.changed:
            return mirror.outcome([number]).forgotten

    def subscribe(self, on_update: Callable[[Iterable[Progress]], None], on_gap: Callable[[], None]) -> Subscription:
        """Tell of what is folded here."""
        return Ear(self._view, self._ears.to_records, on_update, on_gap)

    def _view(self) -> None:
        self._session.view()
        self._follow()

    def subscribe_cancels(
        self, on_cancel: Callable[[Collection[str]], None], on_gap: Callable[[], None]
    ) -> Subscription:
        """Tell of requests that come by the journal."""
        return Ear(self._follow, self._ears.to_requests, on_cancel, on_gap)

    def _follow(self) -> None:
        self._call(self._session.follow)

    def close(self) -> None:
        """Keep the newest record of each job that goes on, and end the connection; a later call makes another."""
        session = self._session
        if session.begun:
            with suppress(BackendError):
                self._keep(monotonic() + LAST_SECONDS)
        session.close()
        self._begin()

    def _keep(self, deadline: float) -> None:
        session = self._session
        with session.changed:
            left = self._roads.unkept()
        if left:
            mirror = session.follow(deadline)
            nothing: dict[Road, Any] = {road: [] for road in Road}
            outgoing, _ = self._outgoing(nothing | {Road.KEYFRAME: left}, session.sender.stamp())
            session.send(outgoing, mirror, [], deadline)

    def after_fork_in_child(self) -> None:
        """Begin anew; the connection and its thread are the parent's."""
        keep_inherited(self._session)
        self._begin()
