"""Importing a file into a table of a SQLite file of its own, row by row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import progresskit
from progresskit.errors import PublicError

from .reading import examine
from .sample import write_sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .reading import Source

BATCH_ROWS = 100
"""Rows in one transaction: few, so that reported rows are on the disk a moment later."""

_MOST_COLUMNS = 1_000


def import_file(upload: str, database: str) -> dict[str, Any]:
    """Import the file `upload` into the table `rows` of the new SQLite file `database`; return a summary."""
    progresskit.current().update(description="Counting the rows")
    source = examine(Path(upload))
    if len(source.header) > _MOST_COLUMNS:
        raise PublicError(f"the file has {len(source.header):,} columns, more than {_MOST_COLUMNS:,}")
    total = sum(1 for _ in source.rows())
    rows = progresskit.track(source.rows(), total=total, unit="rows", description="Importing")
    try:
        imported, cut = _import(rows, source, database)
    except BaseException:
        # Cancelled or broken: half a table is of no use.
        for path in (database, f"{database}-wal", f"{database}-shm"):
            Path(path).unlink(missing_ok=True)
        raise
    return {"rows": imported, "columns": len(source.header), "encoding": source.encoding_name, "cut": cut}


def import_sample(upload: str, database: str) -> dict[str, Any]:
    """Write the sample to the file `upload` first, then import that."""
    progresskit.current().update(description="Writing the file")
    write_sample(Path(upload))
    return import_file(upload, database)


def _import(rows: Iterable[list[str]], source: Source, database: str) -> tuple[int, int]:
    width, imported, cut = len(source.header), 0, 0
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in source.header)
    places = ", ".join("?" * width)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE rows ({columns})")
        connection.execute("BEGIN")
        for row in rows:
            cut += len(row) > width
            values = row if len(row) == width else [*row, *[None] * width][:width]
            connection.execute(f"INSERT INTO rows VALUES ({places})", values)
            imported += 1
            if imported % BATCH_ROWS == 0:
                connection.execute("COMMIT")
                connection.execute("BEGIN")
        connection.execute("COMMIT")
    return imported, cut
