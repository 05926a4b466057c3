"""Views of the rows of an import."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

PAGE_ROWS = 50


class TablePage(NamedTuple):
    """Some rows of a table; `number` counts pages from 1, `first` rows from 1."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    total: int
    number: int
    pages: int

    @property
    def first(self) -> int:
        """The number of the first row shown; 0 where there are none."""
        return (self.number - 1) * PAGE_ROWS + 1 if self.rows else 0


def read_page(database: Path, number: int) -> TablePage:
    """Return a page of the table `rows`, the nearest one that there is."""
    with closing(sqlite3.connect(database)) as connection:
        (total,) = connection.execute("SELECT count(*) FROM rows").fetchone()
        pages = max(-(-total // PAGE_ROWS), 1)
        number = min(max(number, 1), pages)
        found = connection.execute("SELECT * FROM rows LIMIT ? OFFSET ?", (PAGE_ROWS, (number - 1) * PAGE_ROWS))
        columns = [description[0] for description in found.description]
        return TablePage(columns, found.fetchall(), total, number, pages)
