"""
SQLite: the file is the server, and the host's clock is the one that all share.

Each statement, and each row fetched, lets go of the interpreter's lock, and with a CPU-bound thread running it takes up
to 5 ms to get it back. That is why a batch is a few statements of many rows, and why records are read as one text.
"""

from __future__ import annotations

import json
import sqlite3
from time import time
from typing import TYPE_CHECKING, Any

from progresskit.progress import Role, State, Stored
from progresskit_sql.dialect import Dialect

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
from .upserts import Upserts, text

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.progress import Write

UNIT, RECORD = "\x1f", "\x1e"
"""The separators of the parts of a record and of records (see record.sql, read.sql); JSON holds neither."""


class SQLite(Dialect):
    """SQLite by way of Python's own driver."""

    errors = (sqlite3.Error, OverflowError, UnicodeError)

    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        check_driver(url)
        self._url, self._clock = url, clock or time
        self.shared = not is_memory(url)
        self.fork_safe = not self.shared
        table = f"{prefix}_jobs"
        names = {
            "table": _quoted(table),
            "by_heard_at": _quoted(f"{table}_by_heard_at"),
            "by_expires_at": _quoted(f"{table}_by_expires_at"),
        }
        names["record"] = text("record").format(**names)
        self._sql = {
            name: text(name).format(**names)
            for name in ("read", "list", "runs", "cancel", "cancellable", "cancels", "forgettable", "forget", "sweep")
        }
        self._ddl, self._upgrade = (
            [statement.format(**names) for statement in text(name).rstrip(";\n").split(";\n\n")]
            for name in ("schema", "upgrade")
        )
        self._columns = f"PRAGMA table_info({names['table']})"
        self._upserts = Upserts(names["table"])

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
        if not self._is_complete(connection):
            self._add_columns(connection)
        return Home.of(connection)

    def _is_complete(self, connection: sqlite3.Connection) -> bool:
        return "born" in {column[1] for column in connection.execute(self._columns)}

    def _add_columns(self, connection: sqlite3.Connection) -> None:
        """Bring a table of an earlier version up to this one; the first process does so, and the others wait."""
        with transaction(connection):
            if not self._is_complete(connection):
                for statement in self._upgrade:
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

    def write(self, connection: sqlite3.Connection, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in by as few statements as there can be."""
        starts = [write.id for write in batch if write.role is Role.START]
        if len(batch) == 1 and not starts:  # one statement is a transaction of its own
            self._upsert(connection, batch)
            return {}
        with transaction(connection):
            self._upsert(connection, batch)
            runs: dict[str, int] = self._json(connection, "runs", starts) if starts else {}
        return runs

    def _upsert(self, connection: sqlite3.Connection, batch: Sequence[Write]) -> None:
        for sql, values in self._upserts.of(batch, self._clock()):
            connection.execute(sql, values)

    def read(self, connection: sqlite3.Connection, ids: Collection[str]) -> builtins.list[tuple[str, Hashable]]:
        """Fetch all as one text."""
        values = {"ids": json.dumps([*ids]), "now": self._clock()}
        text = connection.execute(self._sql["read"], values).fetchone()[0]
        wanted = frozenset(ids)  # a body that is no JSON may hold a separator, and no record follows it
        return [each for each in _with_ids(_decoded(text).split(RECORD)) if each[0] in wanted] if text else []

    def unpack(self, row: str) -> tuple[Stored, bool]:
        """Parse the output of record.sql."""
        head, override, body = row.split(UNIT)
        _, run, attempt, seq, state, cancel_requested, stalled, born, created = head.split(" ", 8)
        stored = Stored(
            run=int(run),
            attempt=int(attempt),
            seq=int(seq),
            token=None,
            state=State(state),
            body=body,
            override=override or None,
            created=created or None,
            cancel_requested=cancel_requested == "1",
            born=int(born),
        )
        return stored, stalled == "1"

    def request_cancel(self, connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
        """Mark them in the transaction that finds out which they are."""
        with transaction(connection):
            accepted = self._json(connection, "cancellable", ids)
            connection.execute(self._sql["cancel"], {"ids": json.dumps(accepted)})
        return set(accepted)

    def cancel_requested(self, connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return set(self._json(connection, "cancels", ids))

    def forget(self, connection: sqlite3.Connection, ids: Collection[str]) -> set[str]:
        """Delete them in the transaction that finds out which they are."""
        with transaction(connection):
            gone = self._json(connection, "forgettable", ids)
            connection.execute(self._sql["forget"], {"ids": json.dumps(gone)})
        return set(gone)

    def list(
        self, connection: sqlite3.Connection, kind: str | None, states: Collection[State] | None, limit: int
    ) -> builtins.list[tuple[str, Hashable]]:
        """Go along the index of when they were heard of."""
        names = None if states is None else json.dumps([*states])
        values = {"kind": kind, "states": names, "limit": limit, "now": self._clock()}
        return _with_ids(_decoded(row) for (row,) in connection.execute(self._sql["list"], values))

    def sweep(self, connection: sqlite3.Connection, limit: int) -> int:
        """Go along the index of when they expire."""
        return connection.execute(self._sql["sweep"], {"limit": limit, "now": self._clock()}).rowcount

    def _json(self, connection: sqlite3.Connection, name: str, ids: Collection[str]) -> Any:
        values = {"ids": json.dumps([*ids]), "now": self._clock()}
        return json.loads(connection.execute(self._sql[name], values).fetchone()[0])


def _with_ids(rows: Iterable[str]) -> list[tuple[str, Hashable]]:
    return [(row.partition(" ")[0], row) for row in rows]


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
