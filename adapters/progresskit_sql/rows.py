"""
The rows of a transaction that are to be stored.

The parts of a job's run are rows under a key of their own, which the row of the job has. The key is a random number: so
parts that stay behind, when the row is deleted or its run replaced, count for no other run. They go with the row of an
expired record that is left in its place, which the sweep comes across.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from hashlib import blake2b
from secrets import randbits
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.backends.parts import are_parts_kept
from progresskit.backends.stores import StoredRecord, asks_to_stop
from progresskit.parts import Part, Tally
from progresskit.progress import State, Stored, body_starts_with, created_at

from .tables import COLUMNS, PART_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from progresskit.backends.parts import JobWithParts

_LAST_DIGITS = re.compile(r"\d{1,2}(?=(\.\w+)?$)")
"""Of a name that may end like that of a file."""

_GONE = StoredRecord(Stored(0, 0, 0, None, State.CANCELLED, "{}"), 0.0, 0.0, 0.0)

_parse = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


class TableRecord(NamedTuple):
    """A record, and the key of the rows of its parts; None where it has none."""

    record: StoredRecord
    parts_key: int | None


class Changes:
    """
    What a transaction changes: `records` by id, `parts` by key and digest, and the ids to be `deleted`.

    The rows of `added` are not there yet. Viewers are notified of `notified`, and workers of `cancelled`, which were
    asked to stop just now.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self.records: dict[str, TableRecord] = {}
        self.parts: dict[tuple[int, int], Part] = {}
        self.added: set[str] = set()
        self.deleted: list[str] = []
        self.notified: list[str] = []
        self.cancelled: list[str] = []

    @property
    def states(self) -> Iterator[State]:
        """The states of jobs and parts."""
        yield from (row.record.stored.state for row in self.records.values())
        yield from (part.state for part in self.parts.values())

    def add(self, id: str, before: TableRecord | None, job: JobWithParts, *, is_there: bool) -> None:
        """Have a job stored; `before` is None also where its row is there and cannot be decoded."""
        key, known = self._key(before, job), before and before.parts_key
        if known is not None and known != key:
            gone = f".{known}"  # for the sweep, under an id that no job has
            self.records[gone] = TableRecord(_GONE, known)
            self.added.add(gone)
        if job.record.expires_at <= self._now and is_there:
            self.deleted.append(id)
            return
        self.records[id] = TableRecord(job.record, key)
        if not is_there:
            self.added.add(id)
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


def row_of(id: str, row: TableRecord) -> dict[str, Any]:
    """Return the columns of a record."""
    record, parts_key = row
    stored, created, kind = record.stored, record.stored.created or "", _kind_of(id, record.stored.body)
    known = (id, *stored[:3], stored.token, stored.state.value, kind, stored.body, created, stored.override)
    times = (record.lease, record.heard_at, record.expires_at, stored.opened)
    tally = None if stored.tally is None else _encode((stored.run, *stored.tally))
    values = (*known, stored.cancel_requested, *times, stored.restored, stored.born, tally, parts_key)
    return dict(zip(COLUMNS, values, strict=True))


def record_of(row: Sequence[Any]) -> TableRecord:
    """Return the record of its columns in their order; ValueError or TypeError where it is none."""
    _, run, attempt, seq, token, state, _, body, created, override, cancel_requested, *later = row
    lease, heard_at, expires_at, opened, restored, born, tally, parts_key = later
    token, body = _as_text(token), _as_text(body)
    created = created_at(body) if created is None else created or None
    known = (State(state), body, override or None, created, cancel_requested, opened, restored, born)
    stored = Stored(run, attempt, seq, token, *known, _tally_of(tally, run) if tally else None)
    return TableRecord(StoredRecord(stored, heard_at, lease, expires_at), parts_key)


def row_of_part(parts_key: int, digest: int, part: Part) -> dict[str, Any]:
    """Return the columns of a part."""
    values = (parts_key, digest, part.token, part.state.value, part.weight, part.hundredths, part.opened, part.restored)
    return dict(zip(PART_COLUMNS, values, strict=True))


def part_of(row: Sequence[Any]) -> tuple[tuple[int, int], Part]:
    """Return the key and digest of a part, and the part."""
    parts_key, digest, token, state, *rest = row
    return (parts_key, digest), Part(_as_text(token), State(state), *rest)


def _as_text(value: Any) -> Any:
    """Decode what MariaDB's table of an earlier release, or SQLite, gives as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _tally_of(text: str, run: int) -> Tally | None:
    """Return the sums of a run; None for those of another one, which a process of an earlier release has begun."""
    of_run, *values = _parse(text)[0]
    return Tally.load(values) if of_run == run else None


def _kind_of(id: str, body: str) -> str | None:
    """Return the kind that a body states, of a job with that id; None where it states none."""
    beginning = body_starts_with(id)
    try:
        kind = _parse(body, len(beginning))[0] if body.startswith(beginning) else json.loads(body).get("kind")
    except (ValueError, AttributeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None
