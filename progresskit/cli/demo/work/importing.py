"""Importing a file into a table of a SQLite file of its own, in steps: read, check, store."""

from __future__ import annotations

import sqlite3
from collections import Counter
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

STEPS = {"Read": 1, "Check": 4, "Store": 12}
"""The steps of an import; the weights are those of the time that they take."""

BATCH_ROWS = 100
"""Rows in one transaction: few, so that reported rows are on the disk a moment later."""

_MOST_COLUMNS = 1_000


def import_file(upload: str, database: str) -> dict[str, Any]:
    """Import the file `upload` into the table `rows` of the new SQLite file `database`; return a summary."""
    with progresskit.observe(steps=STEPS, description="Importing"):
        return _import(Path(upload), database)


def import_sample(upload: str, database: str) -> dict[str, Any]:
    """Write the sample to the file `upload` first, then import that."""
    with progresskit.observe(steps={"Write": 5, **STEPS}, description="Importing"):
        with progresskit.step("Write"):
            write_sample(Path(upload))
        return _import(Path(upload), database)


def _import(upload: Path, database: str) -> dict[str, Any]:
    with progresskit.step("Read"):
        source = examine(upload)
    if len(source.header) > _MOST_COLUMNS:
        raise PublicError(f"the file has {len(source.header):,} columns, more than {_MOST_COLUMNS:,}")
    with progresskit.step("Check", total=upload.stat().st_size, unit="B") as step:
        widths = Counter(len(row) for row in source.rows(step.set_progress))
    with progresskit.step("Store"):
        try:
            _store(progresskit.track(source.rows(), total=widths.total(), unit="rows"), source, database)
        except BaseException:
            # Cancelled or broken: half a table is of no use.
            for path in (database, f"{database}-wal", f"{database}-shm"):
                Path(path).unlink(missing_ok=True)
            raise
    width = len(source.header)
    cut = sum(rows for fields, rows in widths.items() if fields > width)
    return {"rows": widths.total(), "columns": width, "encoding": source.encoding_name, "cut": cut}


def _store(rows: Iterable[list[str]], source: Source, database: str) -> None:
    width = len(source.header)
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in source.header)
    places = ", ".join("?" * width)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE rows ({columns})")
        connection.execute("BEGIN")
        for number, row in enumerate(rows, 1):
            values = row if len(row) == width else [*row, *[None] * width][:width]
            connection.execute(f"INSERT INTO rows VALUES ({places})", values)
            if number % BATCH_ROWS == 0:
                connection.execute("COMMIT")
                connection.execute("BEGIN")
        connection.execute("COMMIT")
