"""Upserts of many rows: of writes (write.sql), and of what is decided (store.sql, store_parts.sql)."""

from __future__ import annotations

from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any

from progresskit.progress import FINAL_STATES, SKEW_SECONDS, restores
from progresskit.steps import WHOLE
from progresskit_sql.changes import digest_of
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

REPORTED = (
    *(
        "parent",
        "digest",
        "token",
        "run_token",
        "state",
        "weight",
        "hundredths",
        "age",
        "restored",
        "ends",
        "now",
        "batch",
    ),
)
"""The columns of a report, with how many of its parent are final."""

COUNTED = ("parent", "digest", "lease", "ttl", "now", "time", "batch")
"""What the sums have of a report."""

NAMES = {
    "final": "({})".format(", ".join(f"'{state}'" for state in sorted(FINAL_STATES))),
    "skew": SKEW_SECONDS,
    "whole": WHOLE,
    "upsert": upsert("min"),
    "replaced": ", ".join(f"{column} = excluded.{column}" for column in COLUMNS[1:]),
}

Row = tuple[object, ...]


class Upserts:
    """The statements of one file for one table, for rows of these columns."""

    def __init__(self, name: str, table: str, columns: Sequence[str], **tables: str) -> None:
        row = f"({', '.join('?' * len(columns))})"
        names = {"table": table, "columns": ", ".join(columns), **tables}
        self._sql = {size: text(name).format(rows=", ".join([row] * size), **names, **NAMES) for size in SIZES}

    def of(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any], slice]]:
        """Give the statements for the rows, each with its values, and which rows these are of."""
        begin = 0
        while left := len(rows) - begin:
            size = min(1 << left.bit_length() - 1, SIZES[-1])
            part = slice(begin, begin + size)
            yield self._sql[size], [*chain.from_iterable(rows[part])], part
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


def row_of_report(report: Report, ends: int, now: float, batch: int) -> Row:
    """Return the values of REPORTED."""
    hundredths = min(max(report.hundredths, 0), WHOLE)
    known = (report.parent, digest_of(report.name), report.token, report.run_token, str(report.state), report.weight)
    return *known, hundredths, report.age, report.is_unproven, ends, now, batch


def row_of_count(report: Report, now: float, batch: int) -> Row:
    """Return the values of COUNTED."""
    return report.parent, digest_of(report.name), report.lease, report.ttl, now, repr(now), batch


def text(name: str) -> str:
    """Return a file of SQL."""
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
