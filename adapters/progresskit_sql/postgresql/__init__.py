"""
PostgreSQL by way of psycopg 3; the server's clock judges leases.

A call is one statement in autocommit mode, and so one round trip and one transaction. A decision in Python takes a
transaction of three statements.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any
from zlib import crc32

import psycopg
from psycopg.rows import tuple_row

from progresskit.errors import ConfigurationError
from progresskit.parts import Part
from progresskit.progress import FINAL_STATES, State
from progresskit_sql.dialect import PART_COLUMNS, Dialect, record_of, row_of, row_of_part

from .batches import NAMES, decided, reported, written
from .driver import autocommit, is_silent, transaction
from .errors import is_conflict, unavailable
from .server import Address

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.backends.parts import DecideParts
    from progresskit.parts import Report
    from progresskit.progress import Write
    from progresskit_sql.backend import SQLBackend
    from progresskit_sql.changes import Changes, PartRow, TableRecord
    from progresskit_sql.dialect import Row

SERVER_CLOCK = "extract(epoch FROM clock_timestamp())::double precision"
"""Seconds since the epoch."""

NAME_LENGTH = 63
"""The server's limit for the name of a table, an index or a channel, in bytes; longer ones are cut without a word."""

PRESENT = """
SELECT
    {now} AS seconds,
    -- Only the end of a job or part waits for the disk: other records that a crash loses are soon written again.
    CASE WHEN %(lasting)s THEN '' ELSE set_config('synchronous_commit', 'off', true) END AS waiting
OFFSET 0
"""

QUERIES = (
    *("found", "write", "lock", "parts", "store", "store_parts", "report", "delete", "time", "read", "list", "cancels"),
    *("sweep", "sweep_parts"),
)


class PostgreSQL(Dialect):
    """PostgreSQL."""

    has_report = True
    errors = (psycopg.Error, UnicodeError, OverflowError)

    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        self._address, self._clock = Address.of(url), clock
        name = f"{prefix}_jobs"
        indexes = {"by_heard": f"{name}_by_heard", "by_expires": f"{name}_by_expires"}
        for longest in indexes.values():
            if len(longest.encode()) > NAME_LENGTH:
                raise ConfigurationError(f"an index cannot be called {longest}: that is over {NAME_LENGTH} bytes")
        schema = f"{_quoted(self._address.schema)}." if self._address.schema else ""
        self.channel, self.cancels_channel = name, f"{name}_cancels"
        self._tables = {"table": f"{schema}{_quoted(name)}", "parts": f"{schema}{_quoted(f'{prefix}_parts')}"}
        self._upgrade = _text("upgrade").format(**self._tables)
        self._ddl = _statements(self._tables | {key: _quoted(index) for key, index in indexes.items()})
        self._sql = _queries(self._tables, SERVER_CLOCK if clock is None else "%(now)s::double precision")

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
        """Make the tables, or complete them: the right to do so is not needed where there are those of this version."""
        table, begun, pid, complete = self._find(connection)
        if not complete:
            self._make(connection, self._ddl if table is None else [self._upgrade, *self._ddl])
            table, begun, pid, _ = self._find(connection)
        if own and pid != connection.pgconn.backend_pid:  # another session may be asked for a statement prepared here
            connection.prepare_threshold = None
        return table, begun

    def _find(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._execute(connection, "found", **self._tables)[0]
        return found

    def _make(self, connection: psycopg.Connection[Any], statements: Sequence[str]) -> None:
        # The first session makes it, and the others wait: even with IF NOT EXISTS one of them would fail.
        lock = f"SELECT pg_advisory_xact_lock({crc32(self._tables['table'].encode())})"
        connection.execute(";\n".join((lock, *statements)).encode())

    def broken(self, connection: psycopg.Connection[Any]) -> bool:
        """Look whether there is something to read, which on an idle connection is its end, or nearly always."""
        return not is_silent(connection)

    def unavailable(self, error: Exception) -> bool:
        """Go by the class of the error, and the server's code."""
        return unavailable(error)

    def is_conflict(self, error: Exception) -> bool:
        """Go by the server's code."""
        return is_conflict(error)

    def write(self, connection: psycopg.Connection[Any], batch: Sequence[Write], decide: DecideParts) -> None:
        """Use one statement, which returns the ids that it has stored, and notify."""
        lasting = _is_lasting(write.state for write in batch)
        parts = self._execute(connection, "write", **written(batch), channel=self.channel, lasting=lasting)
        left = {write.id for write in batch}
        for _, ids in parts:
            left.difference_update(ids)
        if left:
            self.transact(connection, left, decide)

    def store_reports(
        self, connection: psycopg.Connection[Any], reports: Mapping[tuple[str, int], Report]
    ) -> tuple[dict[str, str], Collection[tuple[str, int]]]:
        """Use one statement."""
        lasting = _is_lasting(report.state for report in reports.values())
        rows = self._execute(connection, "report", **reported(reports.values()), lasting=lasting)
        return {parent: run_token for parent, _, run_token in rows}, {(parent, digest) for parent, digest, _ in rows}

    def transaction(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[None]:
        """Let each statement see all earlier commits of other sessions, at any isolation level of the session."""
        return transaction(connection)

    def lock(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Lock them in the order of the ids."""
        return self._rows(connection, self._execute(connection, "lock", ids=[*ids]))

    def _rows(self, connection: psycopg.Connection[Any], rows: Sequence[Any]) -> tuple[builtins.list[Row], float]:
        now: float = rows[-1][0] if rows else self._execute(connection, "time")[0][0]
        return [(row[1], row[2:]) for row in rows], now

    def unpack(self, row: tuple[Any, ...]) -> TableRecord:
        """Divide the columns of record.sql."""
        state, *numbers, created, token, override, tally, parts_key, body = row
        return record_of(numbers, state, created, token, override, tally, parts_key, body)

    def lock_with_parts(
        self, connection: psycopg.Connection[Any], ids: Collection[str], digests: Mapping[str, Collection[int]]
    ) -> tuple[builtins.list[Row], float, builtins.list[PartRow]]:
        """Use one more statement, which sees what was committed before the locks were had."""
        rows, now = self.lock(connection, ids)
        if not digests:
            return rows, now, []
        asked = [(id, digest) for id, those in digests.items() for digest in those]
        values = {"ids": [id for id, _ in asked], "digests": [digest for _, digest in asked]}
        found = self._execute(connection, "parts", **values)
        parts = [(id, digest, Part(token, State(state), *rest)) for id, digest, token, state, *rest in found]
        return rows, now, parts

    def store(self, connection: psycopg.Connection[Any], changes: Changes) -> None:
        """Write all columns, and notify."""
        self._execute(
            connection,
            "store",
            **decided([row_of(id, row) for id, row in changes.records.items()]),
            added=changes.added,
            notified=changes.notified,
            cancelled=changes.cancelled,
            channel=self.channel,
            cancels=self.cancels_channel,
            lasting=_is_lasting(changes.states),
        )
        if changes.parts:
            rows = [row_of_part(*each) for each in changes.part_rows]
            connection.execute(self._sql["store_parts"], decided(rows, PART_COLUMNS))

    def delete(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> None:
        """Go along the primary key."""
        connection.execute(self._sql["delete"], {"ids": [*ids]})

    def load(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Go along the primary key."""
        return self._rows(connection, self._execute(connection, "read", ids=[*ids]))

    def cancel_requested(self, connection: psycopg.Connection[Any], ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        return {id for (id,) in self._execute(connection, "cancels", ids=[*ids])}

    def list(
        self,
        connection: psycopg.Connection[Any],
        kind: str | None,
        states: Collection[State] | None,
        limit: int,
        member: str | None,
    ) -> tuple[builtins.list[Row], float]:
        """Go along the index of when they were heard of."""
        names = None if states is None else [str(state) for state in states]
        values = {"kind": kind, "states": names, "limit": limit, "member": member}
        return self._rows(connection, self._execute(connection, "list", **values))

    def sweep_parts(self, connection: psycopg.Connection[Any], limit: int) -> int:
        """Go along the index of when their jobs expire."""
        return len(self._execute(connection, "sweep_parts", limit=limit))

    def sweep(self, connection: psycopg.Connection[Any], limit: int) -> int:
        """Go along the index of when they expire."""
        return len(self._execute(connection, "sweep", limit=limit))

    def _execute(self, connection: psycopg.Connection[Any], name: str, **values: Any) -> builtins.list[Any]:
        if self._clock is not None:
            values["now"] = self._clock()
        with connection.cursor(row_factory=tuple_row, binary=True) as cursor:
            return cursor.execute(self._sql[name], values).fetchall()


def _statements(names: dict[str, str]) -> list[str]:
    return [statement.format(**names) for statement in _text("schema").rstrip(";\n").split(";\n\n")]


def _queries(tables: Mapping[str, str], now: str) -> dict[str, bytes]:
    names = {key: table.replace("%", "%%") for key, table in tables.items()} | {"now": now, **NAMES}
    names |= {"record": _text("record").format(**names), "present": PRESENT.format(now=now)}
    return {name: _text(name).format(**names).encode() for name in QUERIES}


def _text(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")


def _is_lasting(states: Iterable[State]) -> bool:
    return not FINAL_STATES.isdisjoint(states)


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
