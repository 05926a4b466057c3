"""The effects of received messages: on the replica, on joining, and on the snapshots that have to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.backends.changes import Changes, portions
from progresskit.backends.replica import Outcome, Stamp
from progresskit.record_store import tombstones

from .joining import Answering, Joining, Phase
from .messages import PORTION, Act

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .messages import Message
    from .replica import MergingReplica

SENDERS = 1_000
"""Of how many other processes the number of the last message is kept."""


class MessageHandler:
    """
    Handles messages one after the other.

    `now` is in seconds of any clock that does not go back, `time` the time by which leases and ttls are judged.
    """

    def __init__(self, replica: MergingReplica) -> None:
        self._replica = replica
        self.joining, self._answering = Joining(0.0), Answering()
        self._last: dict[str, int] = {}

    def begin(self, now: float) -> None:
        """Join again, by another connection."""
        self.joining, self._last = Joining(now), {}

    @property
    def current(self) -> bool:
        """True while the replica has the records that the others have sent in time."""
        return self.joining.phase is Phase.CURRENT

    @property
    def due(self) -> float:
        """When a message may have to be sent."""
        return min(self.joining.due, self._answering.due or self.joining.due)

    def snapshots(self, now: float, time: float) -> Iterator[list[Any]]:
        """Return the contents of the snapshot messages that have to be sent now."""
        ids = self._answering.take(now)
        if ids is not None:
            records = self._replica.snapshot(ids, time)
            parts = list(portions(records, lambda row: len(row[2]), PORTION)) or [[]]
            forgotten = self._replica.forgotten(ids)
            for number, part in enumerate(parts, 1):
                complete = self.current and number == len(parts)
                yield [complete, part, forgotten if number == 1 else []]

    def handle(self, message: Message, own: bool, now: float, time: float) -> Outcome:
        """Apply a message, `own` if this process has sent it; an error in its content is raised."""
        self.joining.received(now)
        match message.act:
            case Act.CHANGES:
                return self._fold(Changes.unpack(message.content[:3]), message.content[3], now, time)
            case Act.PING if own and self.joining.phase is Phase.LINKING:
                # While this process was away it may have known records that no other has, and others have changed.
                self._answering.disputed(self._replica.known(), now)
                self.joining.ask(now)
            case Act.HELLO if own:
                self.joining.hello_returned(now)
            case Act.HELLO:
                self._answering.greeted(self._replica.known(), now)
            case Act.SNAPSHOT if not own:
                return self._adopt(*message.content, now=now, time=time)
        return Outcome({})

    def _fold(self, changes: Changes, runs: Mapping[str, int], now: float, time: float) -> Outcome:
        disputed = [
            write.id for write in changes.writes if self._replica.is_disputed(write, runs.get(write.id, write.run))
        ]
        self._answering.disputed(disputed, now)
        return self._replica.fold(changes, Stamp(time, time))

    def _adopt(self, complete: bool, packed: list[Any], forgotten: list[Any], *, now: float, time: float) -> Outcome:
        outcome, received, better = self._replica.adopt(packed, tombstones(forgotten), time)
        self._answering.answered(received, complete)
        self._answering.disputed(better, now)
        self.joining.snapshot_received(complete, now)
        return outcome

    def has_gap(self, message: Message, now: float) -> bool:
        """Return True if an earlier message of the same sender has not arrived; then request snapshots again."""
        if message.number < 0:
            return False
        last = self._last.pop(message.sender, message.number - 1)
        self._last[message.sender] = max(last, message.number)
        if len(self._last) > SENDERS:
            del self._last[next(iter(self._last))]
        gap = message.number > last + 1 and self.current
        if gap:
            self.joining.ask(now)
        return gap
