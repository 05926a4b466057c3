"""What the messages of all do in a process: to its mirror, to how it joins, and to what it owes the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.record_store import tombstones

from .sync import Answering, Joining, Phase
from .wire import Act, chunks, pack_kept, unpack_each, unpack_kept, unpack_write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .mirror import Mirror
    from .sync import Say
    from .wire import Message

STATIONS = 1_000
"""Of how many others it is known how much they have said."""


class Hearing:
    """Takes messages in, one after the other; times are seconds of any clock that does not go back."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._joining, self._answering = Joining(0.0), Answering()
        self._others: dict[str, int] = {}

    def begin(self, now: float) -> None:
        """Join anew, by another connection."""
        self._joining, self._others = Joining(now), {}

    @property
    def current(self) -> bool:
        """True while all is known that the others have told in time."""
        return self._joining.phase is Phase.CURRENT

    @property
    def due(self) -> float:
        """When there may be something to say."""
        return min(self._joining.due, self._answering.due or self._joining.due)

    def next(self, now: float) -> Say | None:
        """Return what is to be said to join, or to stay; raises Silence."""
        return self._joining.next(now)

    def owed(self, now: float) -> Iterator[list[Any]]:
        """Return what is to be told to the others: the contents of messages."""
        ids = self._answering.take(now)
        if ids is not None:
            parts = list(chunks([pack_kept(kept) for kept in self._mirror.kept(ids)])) or [[]]
            forgotten = self._mirror.buried(ids)
            for number, part in enumerate(parts, 1):
                yield [self.current and number == len(parts), part, forgotten if number == 1 else []]

    def heard(self, now: float) -> None:
        """Note that something was said, whatever it is."""
        self._joining.heard(now)

    def take(self, message: Message, mine: bool, now: float) -> Any:
        """Let a message take effect; return what came of it, which is the answer to who has sent it."""
        match message.act:
            case Act.WRITE:
                pairs = unpack_each(message.content, unpack_write)
                doubtful = [write.id for write, owned in pairs if self._mirror.disputed(write, owned)]
                self._answering.doubted(doubtful, now)
                return self._mirror.write([write for write, _ in pairs])
            case Act.CANCEL:
                return self._mirror.request_cancel(message.content)
            case Act.FORGET:
                return self._mirror.bury(tombstones(message.content))
            case Act.PING if mine:
                if self._joining.phase is Phase.LINKING:
                    # Who was away may have heard of what nobody else has, and what the others know they will tell.
                    self._answering.doubted(self._mirror.known(), now)
                self._joining.heard_oneself(now)
            case Act.HELLO if mine:
                self._joining.hello_came_back(now)
            case Act.HELLO:
                self._answering.greeted(self._mirror.known(), now)
            case Act.TELL if not mine:
                complete, packed, *later = message.content
                told, forgotten = unpack_each(packed, unpack_kept), tombstones(later[0] if later else [])
                self._answering.told({kept.id for kept in told} | {each.id for each in forgotten}, complete)
                self._mirror.bury(forgotten)
                self._answering.doubted(self._mirror.adopt(told, forgotten), now)
                self._joining.told(complete, now)
        return None

    def missed(self, message: Message, now: float) -> bool:
        """Tell whether something that its sender said before did not arrive; then ask, as if having just come."""
        if message.number < 0:
            return False
        last = self._others.pop(message.station, message.number - 1)
        self._others[message.station] = max(last, message.number)
        if len(self._others) > STATIONS:
            del self._others[next(iter(self._others))]
        missed = message.number > last + 1 and self.current
        if missed:
            self._joining.ask(now)
        return missed
