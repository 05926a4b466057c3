"""What a process knows of all jobs: it has folded in whatever was said since it came, and been told the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.memory import MemoryBackend
from progresskit.progress import Role
from progresskit.record_store import Entry, Tombstone

from .settle import differ, settle
from .wire import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from progresskit.progress import Stored, Write

RECORDS = 20_000
"""How many records a process keeps; beyond that, those of jobs that ended longest ago go first."""

CHARACTERS = 64 * 1024 * 1024
"""How many characters of JSON they may have together."""

ROOM = 0.9
"""What is left of them when some had to go, so that it does not happen at each write."""

SLACK_SECONDS = 1.0
"""A job counts as heard of later than was known only by more than this, which is more than a message takes."""


class Mirror(MemoryBackend):
    """The reference backend, which can also tell what it keeps, and take in what others do."""

    def __init__(self, clock: Callable[[], float], records: int = RECORDS, characters: int = CHARACTERS) -> None:
        super().__init__(clock)
        self._records, self._characters = records, characters
        self._size = 0  # at most too high: what was replaced is counted until the next time that all are

    def write(self, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, and tell the listeners."""
        now = self._clock()
        with self._lock:
            batch = [write for write in batch if not self._entries.is_buried(write, now)]
        runs = super().write(batch)
        self._make_room(sum(len(write.body) for write in batch))
        return runs

    def forgettable(self, ids: Collection[str]) -> list[Tombstone]:
        """Return what stands for those jobs, of the ones that are done or stalled here, once they are forgotten."""
        now = self._clock()
        with self._lock:
            return self._entries.forgettable(dict.fromkeys(ids), now)

    def bury(self, tombstones: Iterable[Tombstone]) -> set[str]:
        """Forget jobs, and let nobody bring them back who has missed that; return those that are gone by that."""
        now = self._clock()
        with self._lock:
            return self._entries.bury(tombstones, now)

    def buried(self, ids: Collection[str]) -> list[Tombstone]:
        """Return what is known of those jobs that they were forgotten."""
        with self._lock:
            return [tombstone for id, (tombstone, _) in self._entries.tombstones.items() if id in ids]

    def owned(self, write: Write) -> int:
        """Return the run in which the writer owns the record here; 0 if it does not."""
        entry = self._entries.get(write.id)
        return entry.stored.run if entry is not None and entry.stored.token == write.token else 0

    def disputed(self, write: Write, owned: int) -> bool:
        """Tell whether it is believed here that another one owns the record than where the write comes from."""
        entry = self._entries.get(write.id)
        return write.role is Role.UPDATE and entry is not None and self.owned(write) != owned

    def known(self) -> set[str]:
        """Return the ids of all records, and of the jobs that were forgotten."""
        with self._lock:
            return {*self._entries, *self._entries.tombstones}

    def kept(self, ids: Collection[str]) -> list[Kept]:
        """Return what is kept of those jobs: first what is not done, then what was heard of last."""
        now = self._clock()
        with self._lock:
            entries = [(id, entry) for id in ids if (entry := self._entries.living(id, now)) is not None]
        entries.sort(key=lambda each: (each[1].is_final, -each[1].heard))
        return [
            Kept(id, _later(entry.stored, -now), entry.kind, now - entry.heard, entry.lease, entry.expires - now)
            for id, entry in entries
        ]

    def adopt(self, told: Iterable[Kept], forgotten: Iterable[Tombstone] = ()) -> set[str]:
        """
        Take in what another process knows; return the jobs of which more is known here than there.

        `forgotten` are those that have no record there because they were forgotten.
        """
        now = self._clock()
        changed, better, size = list[str](), set[str](), 0
        with self._lock:
            better.update(tombstone.id for tombstone in forgotten if tombstone.id in self._entries)
            for kept in (kept._replace(stored=_later(kept.stored, now)) for kept in told):
                entry = self._entries.living(kept.id, now)
                if entry is None and self._was_forgotten(kept):
                    better.add(kept.id)
                    continue
                taken = _merged(entry, kept, now)
                if taken is not entry and taken.expires > now:
                    self._entries[kept.id] = taken
                    changed.append(kept.id)
                    size += len(taken.stored.body)
                if differ(taken.stored, kept.stored):
                    better.add(kept.id)
            self._tell(changed, now)
            self._tell_asked(self._entries.cancel_requested(changed, now))
        self._make_room(size)
        return better

    def _was_forgotten(self, kept: Kept) -> bool:
        if kept.id not in self._entries.tombstones:
            return False
        tombstone, buried = self._entries.tombstones[kept.id]
        is_old = kept.stored.token == tombstone.token and kept.stored[:3] <= tombstone[2:]
        return is_old and kept.stored.opened <= buried

    def _make_room(self, added: int) -> None:
        self._size += added
        if len(self._entries) <= self._records and self._size <= self._characters:
            return
        with self._lock:
            self._size = sum(_size(entry) for entry in self._entries.values())
            if len(self._entries) > self._records or self._size > self._characters:
                self._evict()

    def _evict(self) -> None:
        first = sorted(self._entries.items(), key=lambda each: (not each[1].is_final, each[1].heard))
        for id, entry in first:
            if len(self._entries) <= self._records * ROOM and self._size <= self._characters * ROOM:
                break
            self._size -= _size(entry)
            del self._entries[id]


def _merged(entry: Entry | None, kept: Kept, now: float) -> Entry:
    """Return the entry itself if nothing new was told."""
    heard, expires = now - kept.age, now + kept.left
    if entry is None:
        return Entry(kept.stored, kept.kind, heard, kept.lease, expires, heard)
    stored = settle(entry.stored, kept.stored)
    later = heard - entry.heard > SLACK_SECONDS
    if _is_same(stored, entry.stored) and not later:
        return entry
    kind = entry.kind if stored.body == entry.stored.body else kept.kind
    lease = kept.lease if later else entry.lease
    heard = max(heard, entry.heard)
    return Entry(stored, kind, heard, lease, max(expires, entry.expires), heard)


def _later(stored: Stored, seconds: float) -> Stored:
    return stored._replace(opened=stored.opened + seconds)


def _is_same(one: Stored, other: Stored) -> bool:
    """Compare what is stored, but for differences between clocks."""
    return one == other._replace(opened=one.opened) and abs(one.opened - other.opened) <= SLACK_SECONDS


def _size(entry: Entry) -> int:
    return len(entry.stored.body) + len(entry.stored.verdict or "")
