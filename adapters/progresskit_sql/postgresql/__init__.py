"""
PostgreSQL by way of psycopg 3; the server's clock judges leases.

A call is one statement in autocommit mode, and so one round trip and one transaction.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any
from zlib import crc32

import psycopg
from psycopg.rows import tuple_row

from progresskit.errors import ConfigurationError
from progresskit.progress import Role, State, Stored
from progresskit_sql.dialect import Dialect

from .driver import autocommit, is_silent
from .errors import unavailable
from .server import Address
from .upsert import ARRAYS, CONDITIONS, columns

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.progress import Write
    from progresskit_sql.backend import SQLBackend

SERVER_CLOCK = "extract(epoch FROM clock_timestamp())::double precision"
"""Seconds since the epoch."""

NAME_LENGTH = 63
"""The server's limit for the name of a table, an index or a channel, in bytes; longer ones are cut without a word."""

QUERIES = ("found", "write", "runs", "read", "list", "cancel", "cancels", "forget", "sweep")


class PostgreSQL(Dialect):
    """PostgreSQL."""

    errors = (psycopg.Error, UnicodeError, OverflowError)

    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        self._address, self._clock = Address.of(url), clock
        name = f"{prefix}_jobs"
        indexes = {"by_heard": f"{name}_by_heard", "by_expires": f"{name}_by_expires"}
        for longest in indexes.values():
            if len(longest.encode()) > NAME_LENGTH:
                raise ConfigurationError(f"an index cannot be called {longest}: that is over {NAME_LENGTH} bytes")
        schema = f"{_quoted(self._address.schema)}." if self._address.schema else ""
        self._table, self.channel, self.cancels_channel = f"{schema}{_quoted(name)}", name, f"{name}_cancels"
        self._upgrade = _text("upgrade").format(table=self._table)
        self._ddl = _statements({"table": self._table} | {key: _quoted(index) for key, index in indexes.items()})
        self._sql = _queries(self._table, SERVER_CLOCK if clock is None else "%(now)s::double precision")

    @classmethod
    def pushing(cls, url: URL) -> type[SQLBackend] | None:
        """Push, unless the URL switches LISTEN off."""
        from .backend import PostgreSQLBackend

        return PostgreSQLBackend if Address.of(url).listen else None

    def ddl(self) -> builtins.list[str]:
        """Return the statements that `open` runs where the table is missing."""
        return self._ddl

    def engine(self) -> Engine:
        """Make an engine for the server."""
        return self._address.engine()

    def borrowed(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[None]:
        """Switch off the transactions that the driver begins by itself, and its patience."""
        return autocommit(connection)

    def open(self, connection: psycopg.Connection[Any], own: bool) -> Hashable:
        """Make the table, or complete it: the right to do so is not needed where there is one of this version."""
        table, begun, pid, complete = self._find(connection)
        if not complete:
            self._make(connection, self._ddl if table is None else [self._upgrade])
            table, begun, pid, _ = self._find(connection)
        if own and pid != connection.pgconn.backend_pid:  # what is prepared here, another session may be asked for
            connection.prepare_threshold = None
        return table, begun

    def _find(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._execute(connection, "found", table=self._table)[0]
        return found

    def _make(self, connection: psycopg.Connection[Any], statements: Sequence[str]) -> None:
        # The first session makes it, and the others wait: even with IF NOT EXISTS one of them would fail.
        lock = f"SELECT pg_advisory_xact_lock({crc32(self._table.encode())})"
        connection.execute(";\n".join((lock, *statements)).encode())

    def broken(self, connection: psycopg.Connection[Any]) -> bool:
        """Look whether there is something to read, which on an idle connection is its end, or nearly always."""
        return not is_silent(connection)

    def unavailable(self, error: Exception) -> bool:
        """Go by the class of the error, and the server's code."""
        return unavailable(error)

    def write(self, connection: psycopg.Connection[Any], batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in, and notify."""
        runs = self._fold(connection, batch)
        # A start that came once more, and late, was not taken; its run is known all the same.
        starts = [write for write in batch if write.role is Role.START]
        if len(runs) < len(starts):
            ignored = [write for write in starts if write.id not in runs]
            with connection.transaction():  # written to again, a row is held, so that no other run begins meanwhile
                runs |= self._fold(connection, ignored)
                runs |= self._execute(connection, "runs", ids=[write.id for write in ignored])
        return runs

    def _fold(self, connection: psycopg.Connection[Any], batch: Sequence[Write]) -> dict[str, int]:
        runs: dict[str, int] = {}
        for _, part in self._execute(connection, "write", **columns(batch), channel=self.channel):
            runs |= part or {}
        return runs

    def read(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> builtins.list[tuple[str, Hashable]]:
        """Go along the primary key."""
        return _with_ids(self._execute(connection, "read", ids=[*ids]))

    def unpack(self, row: tuple[Any, ...]) -> tuple[Stored, bool]:
        """Name the columns of record.sql."""
        _, run, attempt, seq, state, cancel_requested, stalled, created, override, body, born = row
        known = (run, attempt, seq, None, State(state), body, override, created or None, cancel_requested)
        stored = Stored(*known, born=born)
        return stored, stalled

    def request_cancel(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> set[str]:
        """Mark them, and notify."""
        parts = self._execute(connection, "cancel", ids=[*ids], channel=self.channel, cancels=self.cancels_channel)
        return {id for *_, part in parts for id in part}

    def cancel_requested(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return {id for (id,) in self._execute(connection, "cancels", ids=[*ids])}

    def forget(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> set[str]:
        """Delete them, in the order of the ids."""
        return {id for (id,) in self._execute(connection, "forget", ids=[*ids])}

    def list(
        self, connection: psycopg.Connection[Any], kind: str | None, states: Collection[State] | None, limit: int
    ) -> builtins.list[tuple[str, Hashable]]:
        """Go along the index of when they were heard of."""
        names = None if states is None else [str(state) for state in states]
        return _with_ids(self._execute(connection, "list", kind=kind, states=names, limit=limit))

    def sweep(self, connection: psycopg.Connection[Any], limit: int) -> int:
        """Go along the index of when they expire."""
        return len(self._execute(connection, "sweep", limit=limit))

    def _execute(self, connection: psycopg.Connection[Any], name: str, **values: Any) -> builtins.list[Any]:
        if self._clock is not None:
            values["now"] = self._clock()
        with connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(self._sql[name], values).fetchall()


def _statements(names: dict[str, str]) -> list[str]:
    return [statement.format(**names) for statement in _text("schema").rstrip(";\n").split(";\n\n")]


def _queries(table: str, now: str) -> dict[str, bytes]:
    names = {"table": table.replace("%", "%%"), "now": now, **CONDITIONS, **ARRAYS}
    names["record"] = _text("record").format(**names)
    return {name: _text(name).format(**names).encode() for name in QUERIES}


def _text(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")


def _with_ids(rows: Iterable[tuple[Any, ...]]) -> list[tuple[str, Hashable]]:
    return [(row[0], row) for row in rows]


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
