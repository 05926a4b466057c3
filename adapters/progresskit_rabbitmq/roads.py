"""Which way a record takes to the others, and what this process has sent of its jobs."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from progresskit.progress import FINAL_STATES, Role, State

if TYPE_CHECKING:
    from progresskit.progress import Write
    from progresskit.record_store import Entry

    from .messages import Stamp

KEYFRAME_SECONDS = 8.0
"""How often the record of a busy job is kept by the broker; a quiet one's is with each heartbeat."""

JOURNAL_SECONDS = 600.0
"""How often it goes to the journal, or three times in its ttl: so that the journal may forget how the job began."""

JOBS = 20_000
"""Of how many jobs is remembered what was sent."""


class Road(Enum):
    """Where a record goes."""

    JOURNAL = "journal"  # decides who owns the job, or how it went
    KEYFRAME = "keyframe"  # kept for those who come late, and told to all
    LIVE = "live"  # told to all who view
    NONE = "none"  # the fold would ignore it


class Sent(NamedTuple):
    """The newest record sent of a job, when and which way, and when the last went to the journal and the keyframes."""

    write: Write
    sent: float
    road: Road
    journalled: float
    keyed: float


class Seed(NamedTuple):
    """A record that this process has sent, and when; `journalled` if the journal has it, as long as it reaches back."""

    write: Write
    time: float
    journalled: bool


class Roads:
    """Chooses for each record; whoever calls holds the lock."""

    def __init__(self) -> None:
        self._sent: dict[str, Sent] = {}
        self._connection = 0

    def reconnected(self, connection: int) -> None:
        """Have the next record of each job kept if the connection is another: those who view may yet have to return."""
        if connection != self._connection:
            self._connection = connection
            self._sent = {id: sent._replace(keyed=float("-inf")) for id, sent in self._sent.items()}

    def choose(self, write: Write, entry: Entry | None, stamp: Stamp) -> Road:
        """Return the way of a record that is sent now, given what is stored."""
        now = stamp.time
        if write.role is not Role.UPDATE or write.state is not State.RUNNING or entry is None:
            return Road.JOURNAL
        stored, sent = entry.stored, self._sent.get(write.id)
        if stored.token != write.token:
            follows = stored.restored and stamp.order - write.age > stored.opened
            return Road.JOURNAL if stored.state is State.PENDING or follows else Road.NONE
        if stored.state in FINAL_STATES or (write.attempt, write.seq) < (stored.attempt, stored.seq):
            return Road.NONE
        if sent is None or sent.write.token != write.token or write.attempt != stored.attempt:
            return Road.JOURNAL
        if now - sent.journalled >= min(JOURNAL_SECONDS, write.ttl / 3, sent.write.ttl / 3):
            return Road.JOURNAL
        again = write.seq == stored.seq
        return Road.KEYFRAME if again or now - sent.keyed >= KEYFRAME_SECONDS else Road.LIVE

    def note(self, write: Write, road: Road, now: float) -> None:
        """Remember what was sent."""
        before = self._sent.pop(write.id, None)
        if write.token is None or write.state in FINAL_STATES:
            return
        if road is Road.JOURNAL or before is None:
            self._sent[write.id] = Sent(write, now, Road.JOURNAL, now, now)
        elif road is Road.KEYFRAME:
            self._sent[write.id] = before._replace(write=write, sent=now, road=road, keyed=now)
        else:
            self._sent[write.id] = before._replace(write=write, sent=now, road=road)
        if len(self._sent) > JOBS:
            del self._sent[next(iter(self._sent))]

    def newest(self) -> list[Seed]:
        """Return the newest record of each job that has not ended."""
        return [Seed(sent.write, sent.sent, sent.road is Road.JOURNAL) for sent in self._sent.values()]

    def keep(self, now: float) -> list[Write]:
        """Return the newest records that the broker does not keep, as it will from now on."""
        unkept = self.unkept()
        for write in unkept:
            self._sent[write.id] = self._sent[write.id]._replace(road=Road.KEYFRAME, keyed=now)
        return unkept

    def unkept(self) -> list[Write]:
        """Return those of them that the broker does not keep."""
        return [sent.write for sent in self._sent.values() if sent.road is Road.LIVE]

    def clear(self) -> None:
        """Forget it all: whatever is sent next goes to the journal."""
        self._sent.clear()
