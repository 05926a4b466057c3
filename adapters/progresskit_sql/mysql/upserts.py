"""
The fold as an upsert of many rows: `progresskit.progress.fold`, decided by the database.

The text is built here: the driver takes longer to escape a thousand records, letter by letter, than the server to
store them. So it is given only the strings that need it; most do not, the rest are numbers and constants.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from progresskit.errors import BackendError
from progresskit.progress import SKEW_SECONDS, Role, created_at, restores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from progresskit.progress import Write

ROLES = {"start": 1, "update": 2, "external": 3, "late_start": 4, "late_update": 5, "late_external": 6}
"""The values of `fate` in a write."""

ORDER = ("ignored", "renewed", "overridden", "newer", "same_run", "next_run", "afresh")
FATES = {name: number for number, name in enumerate(ORDER)}
"""The values of `fate` in a row, in the order of how much of the row is replaced (see upsert.sql)."""

FINAL = "state IN ('succeeded', 'failed', 'cancelled')"
OLDER = f"(VALUES(opened_at) < opened_at AND opened_at <= VALUES(heard_at) + {SKEW_SECONDS})"

NAMES = ROLES | FATES | {"final": FINAL, "older": OLDER}

BESIDE_ROWS = 64
"""Bytes of a packet that are no statement, and some more."""


class Upserts:
    """The statements for one table; `clock` is SQL for the server's time."""

    def __init__(self, table: str, clock: str) -> None:
        self._head, self._tail = text("upsert").format(table=table, rows="\0", **NAMES).split("\0")
        self._clock = clock

    def of(self, cursor: Any, batch: Sequence[Write], now: float | None, limit: int) -> Iterator[str]:
        """
        Give the statements that fold the batch in, in the order of the ids, none longer than `limit` bytes.

        `now` takes the place of the server's time. Raises BackendError for a record that is too long by itself.
        """
        room = limit - len(f"{self._head}{self._tail}".encode()) - BESIDE_ROWS
        ordered = sorted(batch, key=lambda write: write.id)  # writers that lock rows in one order wait, and go on
        rows = [self._row(cursor, write, now) for write in ordered]
        for part in _parts(rows, room):
            yield f"{self._head}{','.join(part)}{self._tail}"

    def _row(self, cursor: Any, write: Write, now: float | None) -> str:
        run = 1 if write.role is Role.EXTERNAL else max(write.run, 1)
        role = ROLES[("late_" if write.late else "") + write.role.name.lower()]
        id, token, kind, body, begun = (
            _literal(cursor, value) for value in (write.id, write.token, write.kind, write.body, created_at(write.body))
        )
        # The columns stand in this order in upsert.sql: one may refer to those before it.
        heard_at, expires_at, opened_at = (
            (self._clock, f"heard_at+{write.ttl!r}", f"heard_at-{write.age!r}")
            if now is None
            else (repr(now), repr(now + write.ttl), repr(now - write.age))
        )
        return (
            f"({id},{role},{run:d},{write.attempt:d},{write.seq:d},{token},'{write.state.value}',{kind},"
            f"{body},{begun},{write.lease!r},{heard_at},{expires_at},{opened_at},{restores(write):d},{write.created:d})"
        )


def _literal(cursor: Any, value: str | None) -> str:
    if value is None:
        return "NULL"
    if "'" not in value and "\\" not in value:  # nothing else ends a string, or stands for something in it
        return f"'{value}'"
    escaped: str = cursor.mogrify("%s", (value,))
    return escaped


def _parts(rows: list[str], room: int) -> Iterator[list[str]]:
    """Divide rows so that each part is at most `room` bytes long with its commas."""
    if sum(map(len, rows)) * 4 + len(rows) <= room:  # no letter is longer: nothing need be counted
        yield rows
        return
    part, left = list[str](), room
    for row in rows:
        size = len(row.encode()) + 1
        if size > room:
            raise BackendError(f"a record of {size:,} bytes is over what the server takes (max_allowed_packet)")
        if size > left:
            yield part
            part, left = [], room
        part.append(row)
        left -= size
    if part:
        yield part


def text(name: str) -> str:
    """Return a file of SQL."""
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
