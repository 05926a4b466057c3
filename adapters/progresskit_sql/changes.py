"""
The rows of a transaction that are to be stored.

The parts of a job's run are rows under a key of their own, which the row of the job has. The key is a random number: so
parts that stay behind, when the row is deleted or its run replaced, count for no other run. They go with the row of an
expired record that is left in its place, which the sweep comes across.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from secrets import randbits
from typing import TYPE_CHECKING, NamedTuple

from progresskit.backends.parts import are_parts_kept
from progresskit.backends.stores import StoredRecord, asks_to_stop
from progresskit.parts import Part
from progresskit.progress import State, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from progresskit.backends.parts import JobWithParts

PartRow = tuple[str, int, Part]
"""The id of a job, the digest of the name of one of its parts, and that part."""

_LAST_DIGITS = re.compile(r"\d{1,2}(?=(\.\w+)?$)")
"""Of a name that may end like that of a file."""

_GONE = StoredRecord(Stored(0, 0, 0, None, State.CANCELLED, "{}"), 0.0, 0.0, 0.0)


class TableRecord(NamedTuple):
    """A record, and the key of the rows of its parts; None where it has none."""

    record: StoredRecord
    parts_key: int | None


class Changes:
    """
    What a transaction changes: `records` to be stored by id, `parts` by key and digest, and the ids to be `deleted`.

    The rows of `added` are not there yet. Viewers are notified of `notified`, and workers of `cancelled`, which were
    asked to stop just now.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self.records: dict[str, TableRecord] = {}
        self.parts: dict[tuple[int, int], Part] = {}
        self.added: list[str] = []
        self.deleted: list[str] = []
        self.notified: list[str] = []
        self.cancelled: list[str] = []

    @property
    def states(self) -> Iterator[State]:
        """The states of jobs and parts."""
        yield from (row.record.stored.state for row in self.records.values())
        yield from (part.state for part in self.parts.values())

    @property
    def part_rows(self) -> list[tuple[int, int, Part]]:
        """The parts with key and digest, in the order of these."""
        return [(*key, self.parts[key]) for key in sorted(self.parts)]

    def add(self, id: str, before: TableRecord | None, job: JobWithParts, *, is_there: bool) -> None:
        """Have a job stored; `before` is None also where its row is there and cannot be decoded."""
        key, known = self._key(before, job), before and before.parts_key
        if known is not None and known != key:
            self._leave(known)
        if job.record.expires_at <= self._now and is_there:
            self.deleted.append(id)
            return
        self.records[id] = TableRecord(job.record, key)
        if not is_there:
            self.added.append(id)
        if job.is_new:
            self.notified.append(id)
        if asks_to_stop(job.record, before and before.record):
            self.cancelled.append(id)
        if key is not None:
            self.parts.update(((key, digest_of(name)), part) for name, part in job.parts.items())

    def _key(self, before: TableRecord | None, job: JobWithParts) -> int | None:
        known = before and before.parts_key
        if before is not None and known is not None and are_parts_kept(before.record, job.record, self._now):
            return known
        counts = job.record.stored.tally is not None and self._now < job.record.expires_at
        return randbits(63) if counts else None

    def _leave(self, parts_key: int) -> None:
        """Leave parts to the sweep, under an id that no job has."""
        id = f".{parts_key}"
        self.records[id] = TableRecord(_GONE, parts_key)
        self.added.append(id)


@lru_cache(4_096)
def digest_of(name: str) -> int:
    """
    Return the number that stands for the name of a part.

    Its first two bytes are the same for names that differ in the last two digits only: the rows of parts that are
    numbered lie side by side, and those of a batch on few pages of the table.
    """
    return int.from_bytes(_hash(_LAST_DIGITS.sub("", name), 2) + _hash(name, 6), "big", signed=True)


def _hash(text: str, size: int) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
