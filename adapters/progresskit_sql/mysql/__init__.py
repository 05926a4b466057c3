"""
MariaDB and MySQL by way of PyMySQL; the server's clock judges leases.

A call is one statement in autocommit mode. Transactions are taken for a batch that is longer than the server takes at
once, and for what has to be decided in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pymysql.err import Error

from progresskit.errors import ConfigurationError
from progresskit.parts import Part
from progresskit.progress import STARTS, State
from progresskit_sql.dialect import ADDED, COLUMNS, PART_COLUMNS, UNIT, Dialect, row_of, row_of_part, with_ids

from .errors import CONFLICTS, DUPLICATE_COLUMN, LOCK_WAIT_TIMEOUT, NO_SUCH_COLUMN, NO_SUCH_TABLE, code, unavailable
from .server import (
    autocommit,
    check_driver,
    delay,
    fetch_each,
    longest_packet,
    make_engine,
    prepare,
    silent,
    transaction,
)
from .statements import DECIDED, NEWER, OPENED, Statement, decided_row, rows_of_writes, text

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.backends.parts import DecideParts
    from progresskit.progress import Write
    from progresskit_sql.changes import Changes, PartRow
    from progresskit_sql.dialect import Row

SERVER_CLOCK = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))/1e6"
"""Seconds since the epoch when the statement began, in any time zone of the session."""

NAME_LENGTH = 64
"""The server's limit for the name of a table, in letters."""

LONGEST_ID = 128 * 4 + 3
"""Bytes of an id in a statement, at most, with its delimiters."""

QUERIES = (
    *("exists", "lock", "parts", "delete", "time", "read", "list", "cancels", "sweep"),
    *("gone", "gone_locked", "sweep_parts"),
)


Key = TypeVar("Key")


class MySQL(Dialect):
    """MariaDB and MySQL, which are the same to us."""

    errors = (Error, UnicodeError, OverflowError)

    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        check_driver(url)
        self._url, self._clock = url, clock
        table, parts = f"{prefix}_jobs", f"{prefix}_parts"
        for name in (table, parts):
            if len(name) > NAME_LENGTH:
                raise ConfigurationError(f"a table cannot be called {name}: that is longer than {NAME_LENGTH} letters")
        names = {"table": _quoted(table), "parts": _quoted(parts)}
        # A percent sign of a name is doubled where there are parameters.
        in_query = {name: quoted.replace("%", "%%") for name, quoted in names.items()}
        in_query |= {"now": f"({SERVER_CLOCK})" if clock is None else "%(now)s", "added": ", jobs.".join(ADDED)}
        in_query["record"] = text("record").format(**in_query)
        self._sql = {name: text(name).format(**in_query) for name in QUERIES}
        self._ddl, self._upgrade = (text(name).format(**names).split("\n\n") for name in ("schema", "upgrade"))
        self._write = Statement("write", names["table"], OPENED)
        self._insert = Statement("insert", names["table"], DECIDED)
        self._replace = Statement("replace", names["table"], DECIDED, COLUMNS[1:])
        self._replace_parts = Statement("replace", names["parts"], PART_COLUMNS, PART_COLUMNS[2:])
        self._packet = 0

    def ddl(self) -> builtins.list[str]:
        """Return the statements that `open` runs where the table is missing."""
        return self._ddl

    def engine(self) -> Engine:
        """Make an engine for the server."""
        return make_engine(self._url)

    def borrowed(self, connection: Any) -> AbstractContextManager[None]:
        """Switch the server's autocommit mode on."""
        return autocommit(connection)

    def open(self, connection: Any, own: bool) -> Hashable:
        """Make the tables, or complete them: the right to do so is not needed where there are those of this version."""
        if own:
            prepare(connection)
        self._packet = longest_packet(connection)
        with connection.cursor() as cursor:
            lacking = self._lacking(cursor)
            if lacking == NO_SUCH_TABLE:
                for statement in self._ddl:
                    cursor.execute(statement)
                lacking = self._lacking(cursor)
            if lacking == NO_SUCH_COLUMN:
                self._add_columns(cursor)
        return self._url.database

    def _lacking(self, cursor: Any) -> int | None:
        """Return the number of the error where a table or a column is not there."""
        try:
            cursor.execute(self._sql["exists"], ())
        except Error as error:
            if code(error) not in {NO_SUCH_TABLE, NO_SUCH_COLUMN}:
                raise
            return code(error)
        return None

    def _add_columns(self, cursor: Any) -> None:
        """Bring a table of an earlier version up to this one; another process may do the same."""
        for statement in self._upgrade:
            try:
                cursor.execute(statement)
            except Error as error:
                if code(error) != DUPLICATE_COLUMN:
                    raise

    def broken(self, connection: Any) -> bool:
        """Look whether there is something to read, which on an idle connection can only be its end."""
        return not silent(connection)

    def unavailable(self, error: Exception) -> bool:
        """Go by the server's number."""
        return unavailable(error)

    def is_conflict(self, error: Exception) -> bool:
        """Go by the server's number."""
        return code(error) in CONFLICTS

    def write(self, connection: Any, batch: Sequence[Write], decide: DecideParts) -> None:
        """Use one statement where the server takes it; one that leaves a write alone may have left any."""
        now = SERVER_CLOCK if self._clock is None else repr(self._clock())
        ids = [write.id for write in batch]
        with connection.cursor() as cursor:
            statements = [*self._write.of(rows_of_writes(cursor, batch, now), self._packet)]
            if len(statements) > 1 or (len(batch) > 1 and any(write.role in STARTS for write in batch)):
                with transaction(connection):
                    left_alone = [self._leaves_alone(cursor, statement) for statement in statements]
                    if any(left_alone):
                        self.decide_all(connection, ids, decide)
            elif self._leaves_alone(cursor, statements[0]):
                self.transact(connection, ids, decide)

    def _leaves_alone(self, cursor: Any, statement: str) -> bool:
        cursor.execute(statement)
        return bool(cursor.lastrowid)

    def transaction(self, connection: Any) -> AbstractContextManager[None]:
        """Have statements take effect together."""
        return transaction(connection)

    def lock(self, connection: Any, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Lock them in the order of the ids."""
        return self._load(connection, "lock", sorted(ids))

    def load(self, connection: Any, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Fetch them by their key."""
        return self._load(connection, "read", ids)

    def _load(self, connection: Any, name: str, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        with connection.cursor() as cursor:
            return self._timed(cursor, [*self._rows(cursor, name, ids)])

    def _timed(self, cursor: Any, rows: Collection[Any]) -> tuple[builtins.list[Row], float]:
        """Take the time out of the rows, or ask for it where there are none."""
        if not rows:
            cursor.execute(self._sql["time"], self._values())
            return [], float(cursor.fetchone()[0])
        divided = [UNIT.join(texts).partition(" ") for texts in rows]
        return with_ids(row for _, _, row in divided), float(divided[-1][0])

    def lock_with_parts(
        self, connection: Any, ids: Collection[str], digests: Mapping[str, Collection[int]]
    ) -> tuple[builtins.list[Row], float, builtins.list[PartRow]]:
        """Ask for all in one round trip: each statement reads what was committed before it."""
        if not digests:
            return *self.lock(connection, ids), []
        with connection.cursor() as cursor:
            locks = [cursor.mogrify(self._sql["lock"], self._values(ids=piece)) for piece in self._pieces(sorted(ids))]
            asked = [(id, piece) for id, those in digests.items() for piece in self._pieces(those)]
            parts = [cursor.mogrify(self._sql["parts"], {"id": id, "digests": piece}) for id, piece in asked]
            found = fetch_each(connection, [*locks, *parts])
            rows, now = self._timed(cursor, [row for some in found[: len(locks)] for row in some])
        of_parts = zip(asked, found[len(locks) :], strict=True)
        return rows, now, [(id, *_part_of(row)) for (id, _), some in of_parts for (row,) in some]

    def store(self, connection: Any, changes: Changes) -> None:
        """Write all columns, in the order of the ids."""
        added = {*changes.added}
        with connection.cursor() as cursor:
            for statement, ids in ((self._replace, changes.records.keys() - added), (self._insert, added)):
                rows = [(NEWER, *row_of(id, changes.records[id])) for id in sorted(ids)]
                self._store_rows(cursor, statement, rows)
            self._store_rows(cursor, self._replace_parts, [row_of_part(*each) for each in changes.part_rows])

    def _store_rows(self, cursor: Any, statement: Statement, rows: Sequence[tuple[object, ...]]) -> None:
        for each in statement.of([decided_row(cursor, row) for row in rows], self._packet) if rows else ():
            delay(cursor.connection, each)

    def delete(self, connection: Any, ids: Collection[str]) -> None:
        """Go along the primary key."""
        with connection.cursor() as cursor:
            for piece in self._pieces(sorted(ids)):
                cursor.execute(self._sql["delete"], self._values(ids=piece))

    def cancel_requested(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        with connection.cursor() as cursor:
            return {id for (id,) in self._rows(cursor, "cancels", ids)}

    def list(
        self,
        connection: Any,
        kind: str | None,
        states: Collection[State] | None,
        limit: int,
        member: str | None,
    ) -> tuple[builtins.list[Row], float]:
        """Go along the index of when they were heard of."""
        among = None if states is None else ",".join(states)
        with connection.cursor() as cursor:
            cursor.execute(self._sql["list"], self._values(kind=kind, states=among, limit=limit, member=member))
            return self._timed(cursor, cursor.fetchall())

    def sweep_parts(self, connection: Any, limit: int) -> int:
        """Go along the index of when their jobs expire, and delete the rows of those without parts as well."""
        with connection.cursor() as cursor:
            cursor.execute(self._sql["gone"], self._values())
            ids = [id for (id,) in cursor.fetchall()]
        return self._unless_busy(lambda: self._sweep_parts(connection, ids, limit)) if ids else 0

    def _sweep_parts(self, connection: Any, ids: builtins.list[str], limit: int) -> int:
        with transaction(connection), connection.cursor() as cursor:
            keys: dict[str, int] = dict(self._rows(cursor, "gone_locked", ids))
            if not keys:
                return 0
            count: int = cursor.execute(self._sql["sweep_parts"], {"keys": [*keys.values()], "limit": limit})
            if count < limit:
                self.delete(connection, keys)
        return count

    def sweep(self, connection: Any, limit: int) -> int:
        """Go along the index of when they expire."""
        with connection.cursor() as cursor:
            return self._unless_busy(lambda: cursor.execute(self._sql["sweep"], self._values(limit=limit)))

    def _unless_busy(self, sweep: Callable[[], int]) -> int:
        """Return how many rows it deletes; 0 where another process sweeps at the same time, which may go on alone."""
        try:
            return sweep()
        except Error as error:
            if code(error) not in {*CONFLICTS, LOCK_WAIT_TIMEOUT}:
                raise
        return 0

    def _rows(self, cursor: Any, name: str, ids: Collection[str]) -> Iterator[tuple[Any, ...]]:
        for piece in self._pieces(ids):
            cursor.execute(self._sql[name], self._values(ids=piece))
            yield from cursor.fetchall()

    def _pieces(self, keys: Collection[Key]) -> Iterator[builtins.list[Key]]:
        """Divide ids or digests into as few lists as the server takes statements for."""
        size = max((self._packet - len(self._sql["lock"])) // LONGEST_ID, 1)
        rest = [*keys]
        for begin in range(0, len(rest), size):
            yield rest[begin : begin + size]

    def _values(self, **values: object) -> dict[str, object]:
        return values if self._clock is None else values | {"now": self._clock()}


def _part_of(row: str) -> tuple[int, Part]:
    digest, state, weight, hundredths, opened, restored, *token = row.split(" ", 6)
    known = (token[0] if token else None, State(state), int(weight), int(hundredths))
    return int(digest), Part(*known, float(opened), restored == "1")


def _quoted(name: str) -> str:
    return "`{}`".format(name.replace("`", "``"))
