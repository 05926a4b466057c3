"""Upserts of many rows: of writes (write.sql), and of what is decided (store.sql, store_parts.sql)."""

from __future__ import annotations

from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any

from progresskit.progress import SKEW_SECONDS, restores
from progresskit.steps import WHOLE
from progresskit_sql.dialect import COLUMNS, opening_time, upsert

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from progresskit.parts import Report
    from progresskit.progress import Write

SIZES = [1 << power for power in range(9)]
"""How many rows a statement writes: the powers of two make up batches of any size, and are prepared once each."""

OPENED = (
    *("id", "run", "attempt", "seq", "token", "state", "kind", "body", "created"),
    *("lease", "heard_at", "expires_at", "opened_at", "restored", "born"),
)
"""The columns of a write."""

REPORTED = ("parent", "digest", "token", "run_token", "state", "weight", "hundredths", "opened_at", "restored")
"""The columns of a report."""

COUNTED = ("parent", "digest", "lease", "ttl")
"""What the sums have of a report."""

NAMES = {
    "skew": SKEW_SECONDS,
    "whole": WHOLE,
    "upsert": upsert("min"),
    "replaced": ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[1:]),
}

Row = tuple[object, ...]


class Upserts:
    """The statements of one file for one table, for rows of these columns; the first `shared` values are of all."""

    def __init__(self, name: str, table: str, columns: Sequence[str], shared: int = 0, **tables: str) -> None:
        row = f"({', '.join('?' * len(columns))})"
        names = {"table": table, "columns": ", ".join(columns), **tables, **NAMES}
        rows = {size: ", ".join([row] * size).replace("?", f"?{shared + 1}", 1) for size in SIZES}
        grouped = {size: "" if size > 1 else "--" for size in SIZES}  # a single row is a group as it is
        self._sql = {size: text(name).format(rows=rows[size], grouped=grouped[size], **names) for size in SIZES}

    def of(self, rows: Sequence[Row], *shared: object) -> Iterator[tuple[str, list[Any], slice]]:
        """Give the statements for the rows, each with its values, and which rows these are of."""
        begin = 0
        while left := len(rows) - begin:
            size = min(1 << left.bit_length() - 1, SIZES[-1])
            part = slice(begin, begin + size)
            yield self._sql[size], [*shared, *chain.from_iterable(rows[part])], part
            begin += size


def row_of_write(write: Write, now: float) -> Row:
    """Return the values of OPENED."""
    return (
        write.id,
        max(write.run, 1),
        write.attempt,
        write.seq,
        write.token,
        str(write.state),  # the driver takes a while to see that a member of an enum is a string
        write.kind,
        write.body,
        opening_time(write),
        write.lease,
        now,
        now + write.ttl,
        now - write.age,
        restores(write),
        write.created,
    )


def row_of_report(parent: str, digest: int, report: Report, now: float) -> Row:
    """Return the values of REPORTED."""
    hundredths = min(max(report.hundredths, 0), WHOLE)
    known = (parent, digest, report.token, report.run_token, report.state.value, report.weight)
    return *known, hundredths, now - report.age, report.is_unproven


def text(name: str) -> str:
    """Return a file of SQL."""
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
