"""
SQLite: the file is the server, and the host's clock is the one that all share.

Each statement, and each row fetched, lets go of the interpreter's lock, and with a CPU-bound thread running it takes up
to 5 ms to get it back. That is why a batch is a few statements of many rows, and why records are read as one text.
"""

from __future__ import annotations

import json
import sqlite3
from itertools import chain
from secrets import randbits
from time import time
from typing import TYPE_CHECKING

from progresskit.parts import Part
from progresskit.progress import State
from progresskit_sql.dialect import ADDED, COLUMNS, PART_COLUMNS, UNIT, Dialect, row_of, row_of_part, with_ids

from .database import (
    Home,
    autocommit,
    check_driver,
    is_memory,
    make_engine,
    missing_file,
    prepare,
    transaction,
    unavailable,
)
from .upserts import COUNTED, OPENED, REPORTED, Upserts, row_of_report, row_of_write, text

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.backends.parts import DecideParts
    from progresskit.parts import Report
    from progresskit.progress import Write
    from progresskit_sql.changes import Changes, PartRow
    from progresskit_sql.dialect import Row

RECORD = "\x1e"
"""The separator of records (see read.sql); JSON holds none."""

QUERIES = ("read", "lock", "list", "cancels", "delete", "parts", "taken", "sweep", "sweep_parts")


class SQLite(Dialect):
    """SQLite by way of Python's own driver."""

    has_report = sqlite3.sqlite_version_info >= (3, 35)
    errors = (sqlite3.Error, OverflowError, UnicodeError)

    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        check_driver(url)
        self._url, self._clock = url, clock or time
        self.shared = not is_memory(url)
        self.fork_safe = not self.shared
        table, parts = f"{prefix}_jobs", _quoted(f"{prefix}_parts")
        names = {
            "table": _quoted(table),
            "parts": parts,
            "by_heard_at": _quoted(f"{table}_by_heard_at"),
            "by_expires_at": _quoted(f"{table}_by_expires_at"),
        }
        names["record"] = text("record").format(**names)
        self._sql = {name: text(name).format(**names) for name in QUERIES}
        self._ddl, self._upgrade = (
            [statement.format(**names) for statement in text(name).rstrip(";\n").split(";\n\n")]
            for name in ("schema", "upgrade")
        )
        self._columns = f"PRAGMA table_info({names['table']})"
        self._writes = Upserts("write", names["table"], OPENED)
        self._records = Upserts("store", names["table"], COLUMNS)
        self._parts = Upserts("store_parts", parts, PART_COLUMNS)
        self._reports = Upserts("report", names["table"], REPORTED, 2, parts=parts)
        self._counts = Upserts("count", names["table"], COUNTED, 3, parts=parts)

    def ddl(self) -> builtins.list[str]:
        """Return the statements that `open` runs."""
        return self._ddl

    def engine(self) -> Engine:
        """Make an engine for the file, or for one in memory."""
        return make_engine(self._url)

    def borrowed(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        """Switch off the transactions that the driver begins by itself."""
        return autocommit(connection)

    def open(self, connection: sqlite3.Connection, own: bool) -> Home:
        """Make the table; the connection of a given engine keeps the journal that it has."""
        if own:
            prepare(connection)
        for statement in self._ddl:
            connection.execute(statement)
        if self._lacks(connection):
            self._add_columns(connection)
        return Home.of(connection)

    def _lacks(self, connection: sqlite3.Connection) -> builtins.list[str]:
        """Return the statements that add the columns which the table lacks."""
        there = {column[1] for column in connection.execute(self._columns)}
        return [statement for name, statement in zip(ADDED, self._upgrade, strict=True) if name not in there]

    def _add_columns(self, connection: sqlite3.Connection) -> None:
        """Bring a table of an earlier version up to this one; the first process does so, and the others wait."""
        with transaction(connection):
            for statement in self._lacks(connection):
                connection.execute(statement)

    def leads_home(self, home: Home) -> bool:
        """Look whether the file is the same."""
        return home.is_there

    def missing(self) -> str | None:
        """Return the path of the file, if there is none."""
        return missing_file(self._url)

    def unavailable(self, error: Exception) -> bool:
        """Go by SQLite's result code."""
        return unavailable(error)

    def write(self, connection: sqlite3.Connection, batch: Sequence[Write], decide: DecideParts) -> None:
        """Use as few statements as there can be."""
        if len(batch) == 1:  # one statement is a transaction of its own
            if left := self._upsert(connection, batch):
                self.transact(connection, left, decide)
            return
        with transaction(connection):
            if left := self._upsert(connection, batch):
                self.decide_all(connection, left, decide)

    def _upsert(self, connection: sqlite3.Connection, batch: Sequence[Write]) -> builtins.list[str]:
        """Return the ids of all that may have been left alone: those of a statement that has stored less than all."""
        now, left = self._clock(), list[str]()
        for sql, values, part in self._writes.of([row_of_write(write, now) for write in batch]):
            if connection.execute(sql, values).rowcount < part.stop - part.start:
                left += [write.id for write in batch[part]]
        return left

    def store_reports(
        self, connection: sqlite3.Connection, reports: Mapping[tuple[str, int], Report]
    ) -> tuple[dict[str, str], Collection[tuple[str, int]]]:
        """Use two statements for as many as they hold: the parts, and the sums of their jobs."""
        batch, stored, run_tokens = randbits(62), 0, dict[str, str]()
        with transaction(connection):
            now = self._clock()
            stores = self._reports.of([row_of_report(*key, report, now) for key, report in reports.items()], now, batch)
            rows = [(*key, report.lease, report.ttl) for key, report in reports.items()]
            counts = self._counts.of(rows, now, batch, repr(now))
            for (sql, values, _), (count_sql, count_values, _) in zip(stores, counts, strict=True):
                if count := connection.execute(sql, values).rowcount:
                    stored += count
                    run_tokens.update(connection.execute(count_sql, count_values).fetchall())
            return run_tokens, reports if stored == len(reports) else self._taken(connection, reports, batch)

    def _taken(
        self, connection: sqlite3.Connection, asked: Collection[tuple[str, int]], batch: int
    ) -> set[tuple[str, int]]:
        values = {"asked": json.dumps([*asked]), "batch": batch}
        return {(id, digest) for id, digest in json.loads(connection.execute(self._sql["taken"], values).fetchone()[0])}

    def transaction(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        """Have the right to write from the beginning."""
        return transaction(connection)

    def lock(self, connection: sqlite3.Connection, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Fetch all as one text; nobody else can write."""
        return self._load(connection, "lock", ids)

    def lock_with_parts(
        self, connection: sqlite3.Connection, ids: Collection[str], digests: Mapping[str, Collection[int]]
    ) -> tuple[builtins.list[Row], float, builtins.list[PartRow]]:
        """Fetch all parts as one text, too."""
        rows, now = self.lock(connection, ids)
        if not digests:
            return rows, now, []
        asked = json.dumps([(id, digest) for id, those in digests.items() for digest in those])
        text: str | None = connection.execute(self._sql["parts"], {"asked": asked}).fetchone()[0]
        return rows, now, [_part_row(row) for row in text.split(RECORD)] if text else []

    def store(self, connection: sqlite3.Connection, changes: Changes) -> None:
        """Write all columns."""
        rows = [row_of(id, row) for id, row in changes.records.items()]
        parts = [row_of_part(*each) for each in changes.part_rows]
        for sql, values, _ in chain(self._records.of(rows), self._parts.of(parts)):
            connection.execute(sql, values)

    def delete(self, connection: sqlite3.Connection, ids: Collection[str]) -> None:
        """Go along the primary key."""
        connection.execute(self._sql["delete"], {"ids": json.dumps([*ids])})

    def load(self, connection: sqlite3.Connection, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Fetch all as one text."""
        return self._load(connection, "read", ids)

    def _load(
        self, connection: sqlite3.Connection, name: str, ids: Collection[str]
    ) -> tuple[builtins.list[Row], float]:
        values = {"ids": json.dumps([*ids]), "now": (now := self._clock())}
        text = connection.execute(self._sql[name], values).fetchone()[0]
        wanted = frozenset(ids)  # a body that is no JSON may hold a separator, and no record follows it
        rows = with_ids(_decoded(text).split(RECORD)) if text else []
        return [row for row in rows if row[0] in wanted], now

    def cancel_requested(self, connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        values = {"ids": json.dumps([*ids]), "now": self._clock()}
        return set(json.loads(connection.execute(self._sql["cancels"], values).fetchone()[0]))

    def list(
        self,
        connection: sqlite3.Connection,
        kind: str | None,
        states: Collection[State] | None,
        limit: int,
        member: str | None,
    ) -> tuple[builtins.list[Row], float]:
        """Go along the index of when they were heard of."""
        names = None if states is None else json.dumps([*states])
        values = {"kind": kind, "states": names, "limit": limit, "member": member, "now": (now := self._clock())}
        return with_ids(_decoded(row) for (row,) in connection.execute(self._sql["list"], values)), now

    def sweep_parts(self, connection: sqlite3.Connection, limit: int) -> int:
        """Go along the index of when their jobs expire."""
        return connection.execute(self._sql["sweep_parts"], {"limit": limit, "now": self._clock()}).rowcount

    def sweep(self, connection: sqlite3.Connection, limit: int) -> int:
        """Go along the index of when they expire."""
        return connection.execute(self._sql["sweep"], {"limit": limit, "now": self._clock()}).rowcount


def _part_row(row: str) -> PartRow:
    head, token = row.split(UNIT)
    id, digest, state, weight, hundredths, opened, restored = head.split(" ")
    known = (token[1:] if token else None, State(state), int(weight), int(hundredths))
    return id, int(digest), Part(*known, float(opened), restored == "1")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
