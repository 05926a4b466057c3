"""
Statements of many rows: of writes (write.sql), and of records and parts that are decided (replace.sql, insert.sql).

The text is built here: the driver takes longer to escape a thousand records, letter by letter, than the server to
store them. So it is given only the strings that need it; most do not, and all else are numbers and our own words.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from progresskit.errors import BackendError
from progresskit.progress import restores
from progresskit_sql.dialect import COLUMNS, opening_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from progresskit.progress import Write

RENEWED, NEWER, BEGUN = 1, 2, 3
"""The values of `fate` after a write that was stored; 0 after one that was left alone."""

# The columns stand in this order: one may refer to those before it.
OPENED = (
    *("id", "fate", "run", "attempt", "seq", "token", "state", "kind", "body", "created", "lease"),
    *("heard_at", "expires_at", "opened_at", "restored", "born"),
)
DECIDED = ("fate", *COLUMNS)
"""The columns of a record that was decided: NEWER, then those of COLUMNS."""

NAMES = {
    "renewed": RENEWED,
    "newer": NEWER,
    "begun": BEGUN,
    "left_alone": "LAST_INSERT_ID(VALUES(fate)) * 0",
}

BESIDE_ROWS = 64
"""Bytes of a packet that are no statement, and some more."""


class Statement:
    """The statement of one file for one table, for rows of these columns; `replaced` are those that it may replace."""

    def __init__(self, name: str, table: str, columns: Sequence[str], replaced: Sequence[str] = ()) -> None:
        names = {"table": table, "columns": ", ".join(columns), **NAMES}
        names["replaced"] = ", ".join(f"{column} = VALUES({column})" for column in replaced)
        self._head, self._tail = text(name).format(rows="\0", **names).split("\0")

    def of(self, rows: Sequence[str], limit: int) -> Iterator[str]:
        """
        Give as few statements as hold the rows, none longer than `limit` bytes.

        Raises BackendError for a row that is too long by itself.
        """
        room = limit - len(f"{self._head}{self._tail}".encode()) - BESIDE_ROWS
        for part in _parts(rows, room):
            yield f"{self._head}{','.join(part)}{self._tail}"


def rows_of_writes(cursor: Any, batch: Sequence[Write], now: str) -> list[str]:
    """Return the values of OPENED, in the order of the ids; `now` is SQL for the time."""
    ordered = sorted(batch, key=lambda write: write.id)  # writers that lock rows in one order wait, and go on
    return [_row_of_write(cursor, write, now) for write in ordered]


def _row_of_write(cursor: Any, write: Write, now: str) -> str:
    id, token, kind, body, created = (
        _literal(cursor, value) for value in (write.id, write.token, write.kind, write.body, opening_time(write))
    )
    return (
        f"({id},{NEWER},{max(write.run, 1):d},{write.attempt:d},{write.seq:d},{token},'{write.state.value}',{kind},"
        f"{body},{created},{write.lease!r},{now},heard_at+{write.ttl!r},heard_at-{write.age!r},"
        f"{restores(write):d},{write.created:d})"
    )


def decided_row(cursor: Any, row: Iterable[object]) -> str:
    """Return the values of a row."""
    texts = (_literal(cursor, value) if value is None or isinstance(value, str) else repr(value) for value in row)
    return f"({','.join(texts)})"


def _literal(cursor: Any, value: str | None) -> str:
    if value is None:
        return "NULL"
    if "'" not in value and "\\" not in value:  # nothing else ends a string, or stands for something in it
        return f"'{value}'"
    escaped: str = cursor.mogrify("%s", (value,))
    return escaped


def _parts(rows: Sequence[str], room: int) -> Iterator[Sequence[str]]:
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
