"""
Batches of rows, as parameters of write.sql, store.sql, report.sql and store_parts.sql.

A column is sent as one text, for psycopg takes 35 µs for an array with a single element. The separator of two values is
in no id, no number and no JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import DataError

from progresskit.progress import FINAL_STATES, SKEW_SECONDS, restores
from progresskit.steps import WHOLE
from progresskit_sql.changes import digest_of
from progresskit_sql.dialect import COLUMNS, PART_COLUMNS, opening_time, upsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from progresskit.parts import Report
    from progresskit.progress import Write

SEPARATOR, NULL = "\x1e", "\x1d"

WRITTEN = (
    *("id", "run", "attempt", "seq", "token", "state", "kind", "body", "created", "lease"),
    *("ttl", "age", "restored", "born"),
)
REPORTED = (
    *("parent", "digest", "token", "run_token", "state", "weight", "hundredths", "lease"),
    *("ttl", "age", "restored"),
)
# The text begins with a separator, so that it is not empty: of an empty text no array has one element.
ARRAYS = {
    f"each_{name}": f"(string_to_array(%({name})s, E'\\x1e', E'\\x1d'))[2:]"
    for name in {*WRITTEN, *COLUMNS, *PART_COLUMNS, *REPORTED}
}

NAMES = ARRAYS | {
    "upsert": upsert("least"),
    "columns": ", ".join(COLUMNS[1:]),
    "decided": ", ".join(f"decided.{name}" for name in COLUMNS[1:]),
    "final": "({})".format(", ".join(f"'{state}'" for state in sorted(FINAL_STATES))),
    "skew": str(SKEW_SECONDS),
    "whole": str(WHOLE),
    "part_columns": ", ".join(PART_COLUMNS),
    "excluded_part": ", ".join(f"excluded.{name}" for name in PART_COLUMNS),
}


def written(batch: Sequence[Write]) -> dict[str, str]:
    """Return the columns of writes."""
    return {
        "id": _joined([write.id for write in batch]),
        "run": _joined([str(max(write.run, 1)) for write in batch]),
        "attempt": _joined([str(write.attempt) for write in batch]),
        "seq": _joined([str(write.seq) for write in batch]),
        "token": _joined([_optional(write.token) for write in batch]),
        "state": _joined([write.state.value for write in batch]),
        "kind": _joined([_optional(write.kind) for write in batch]),
        "body": _joined([write.body for write in batch]),
        "created": _joined([_optional(opening_time(write)) for write in batch]),
        "lease": _joined([repr(write.lease) for write in batch]),
        "ttl": _joined([repr(write.ttl) for write in batch]),
        "age": _joined([repr(write.age) for write in batch]),
        "restored": _joined(["1" if restores(write) else "0" for write in batch]),
        "born": _joined([str(write.created) for write in batch]),
    }


def reported(reports: Iterable[Report]) -> dict[str, str]:
    """Return the columns of reports."""
    return decided(map(_row_of_report, reports), REPORTED)


def _row_of_report(report: Report) -> tuple[object, ...]:
    hundredths = min(max(report.hundredths, 0), WHOLE)
    known = (report.parent, digest_of(report.name), report.token, report.run_token, str(report.state), report.weight)
    return *known, hundredths, report.lease, report.ttl, report.age, report.is_unproven


def decided(rows: Iterable[Sequence[object]], names: Sequence[str] = COLUMNS) -> dict[str, str]:
    """Return the columns of records or parts; each row has the values of these names."""
    columns = zip(*rows, strict=True)
    return {name: _joined([*map(_text, values)]) for name, values in zip(names, columns, strict=True)}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return _optional(value) if value is None or isinstance(value, str) else repr(value)


def _optional(text: str | None) -> str:
    return NULL if text is None else text.replace(SEPARATOR, "\ufffd").replace(NULL, "\ufffd")


def _joined(values: Sequence[str]) -> str:
    joined = SEPARATOR.join(("", *values))
    if joined.count(SEPARATOR) != len(values):
        raise DataError("a text has a control character in it that JSON does not allow")
    return joined
