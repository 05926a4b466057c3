"""
MariaDB and MySQL by way of PyMySQL; the server's clock judges leases.

A call is one statement in autocommit mode. Transactions are taken for a batch with starts, so that their runs are read
before another process can change them, for one that is longer than the server takes at once, and for a request to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymysql.err import Error

from progresskit.errors import ConfigurationError
from progresskit.progress import Role, State, Stored
from progresskit_sql.dialect import Dialect

from .errors import DEADLOCK, DUPLICATE_COLUMN, LOCK_WAIT_TIMEOUT, NO_SUCH_COLUMN, NO_SUCH_TABLE, code, unavailable
from .server import autocommit, check_driver, longest_packet, make_engine, prepare, silent, transaction
from .upserts import Upserts, text

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.progress import Write

SERVER_CLOCK = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))/1e6"
"""Seconds since the epoch when the statement began, in any time zone of the session."""

NAME_LENGTH = 64
"""The server's limit for the name of a table, in letters."""

LONGEST_ID = 128 * 4 + 3
"""Bytes of an id in a statement, at most, with its delimiters."""

QUERIES = ("exists", "read", "list", "runs", "cancel", "cancelled", "cancels", "forgettable", "forget", "sweep")


class MySQL(Dialect):
    """MariaDB and MySQL, which are the same to us."""

    errors = (Error, UnicodeError, OverflowError)

    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        check_driver(url)
        self._url, self._clock = url, clock
        table = f"{prefix}_jobs"
        if len(table) > NAME_LENGTH:
            raise ConfigurationError(f"a table cannot be called {table}: that is longer than {NAME_LENGTH} letters")
        now = f"({SERVER_CLOCK})" if clock is None else "%(now)s"
        names = {"table": _quoted(table), "now": now}
        # A percent sign of a name is doubled where there are parameters.
        in_query = {"table": names["table"].replace("%", "%%"), "now": now, "record": text("record").format(**names)}
        self._sql = {name: text(name).format(**in_query) for name in QUERIES}
        self._ddl, self._upgrade = (text(name).format(**names) for name in ("schema", "upgrade"))
        self._upserts = Upserts(names["table"], SERVER_CLOCK)
        self._packet = 0

    def ddl(self) -> builtins.list[str]:
        """Return the statements that `open` runs where the table is missing."""
        return [self._ddl]

    def engine(self) -> Engine:
        """Make an engine for the server."""
        return make_engine(self._url)

    def borrowed(self, connection: Any) -> AbstractContextManager[None]:
        """Switch the server's autocommit mode on."""
        return autocommit(connection)

    def open(self, connection: Any, own: bool) -> Hashable:
        """Make the table, or complete it: the right to do so is not needed where there is one of this version."""
        if own:
            prepare(connection)
        self._packet = longest_packet(connection)
        with connection.cursor() as cursor:
            try:
                cursor.execute(self._sql["exists"], ())
            except Error as error:
                if code(error) not in {NO_SUCH_TABLE, NO_SUCH_COLUMN}:
                    raise
                self._make(cursor, missing=code(error) == NO_SUCH_TABLE)
        return self._url.database

    def _make(self, cursor: Any, missing: bool) -> None:
        try:
            cursor.execute(self._ddl if missing else self._upgrade)
        except Error as error:
            if code(error) != DUPLICATE_COLUMN:  # which another process has added in between, with all the others
                raise

    def broken(self, connection: Any) -> bool:
        """Look whether there is something to read, which on an idle connection can only be its end."""
        return not silent(connection)

    def unavailable(self, error: Exception) -> bool:
        """Go by the server's number."""
        return unavailable(error)

    def write(self, connection: Any, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in; where the server breaks a deadlock at our expense, once more."""
        try:
            return self._write(connection, batch)
        except Error as error:
            if code(error) != DEADLOCK:
                raise
        return self._write(connection, batch)

    def _write(self, connection: Any, batch: Sequence[Write]) -> dict[str, int]:
        now = None if self._clock is None else self._clock()
        starts = [write.id for write in batch if write.role is Role.START]
        with connection.cursor() as cursor:
            statements = [*self._upserts.of(cursor, batch, now, self._packet)]
            if len(statements) == 1 and not starts:
                cursor.execute(statements[0])
                return {}
            with transaction(connection):
                for statement in statements:
                    cursor.execute(statement)
                return dict(self._rows(cursor, "runs", starts))

    def read(self, connection: Any, ids: Collection[str]) -> builtins.list[tuple[str, Hashable]]:
        """Fetch them by their key."""
        with connection.cursor() as cursor:
            return [(row[0], row[1:]) for row in self._rows(cursor, "read", ids)]

    def unpack(self, row: tuple[str, str | None, str]) -> tuple[Stored, bool]:
        """Parse the output of record.sql."""
        head, override, body = row
        run, attempt, seq, state, cancel_requested, stalled, born, created = head.split(" ", 7)
        stored = Stored(
            run=int(run),
            attempt=int(attempt),
            seq=int(seq),
            token=None,
            state=State(state),
            body=body,
            override=override,
            created=created or None,
            cancel_requested=cancel_requested == "1",
            born=int(born),
        )
        return stored, stalled == "1"

    def request_cancel(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Mark them, then ask which have the mark now; those that it has marked cannot end in between."""
        with connection.cursor() as cursor, transaction(connection):
            for part in self._parts(sorted(ids)):
                cursor.execute(self._sql["cancel"], self._values(ids=part))
            return {id for (id,) in self._rows(cursor, "cancelled", ids)}

    def cancel_requested(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""
        with connection.cursor() as cursor:
            return {id for (id,) in self._rows(cursor, "cancels", ids)}

    def forget(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Lock those that may go, and delete them."""
        with connection.cursor() as cursor, transaction(connection):
            gone = {id for (id,) in self._rows(cursor, "forgettable", sorted(ids))}
            for part in self._parts(sorted(gone)):
                cursor.execute(self._sql["forget"], self._values(ids=part))
        return gone

    def list(
        self, connection: Any, kind: str | None, states: Collection[State] | None, limit: int
    ) -> builtins.list[tuple[str, Hashable]]:
        """Go along the index of when they were heard of."""
        among = None if states is None else ",".join(states)
        with connection.cursor() as cursor:
            cursor.execute(self._sql["list"], self._values(kind=kind, states=among, limit=limit))
            return [(row[0], row[1:]) for row in cursor.fetchall()]

    def sweep(self, connection: Any, limit: int) -> int:
        """Go along the index of when they expire; another process that sweeps at the same time may go on alone."""
        with connection.cursor() as cursor:
            try:
                count: int = cursor.execute(self._sql["sweep"], self._values(limit=limit))
            except Error as error:
                if code(error) not in {DEADLOCK, LOCK_WAIT_TIMEOUT}:
                    raise
                return 0
        return count

    def _rows(self, cursor: Any, name: str, ids: Collection[str]) -> Iterator[tuple[Any, ...]]:
        for part in self._parts(ids):
            cursor.execute(self._sql[name], self._values(ids=part))
            yield from cursor.fetchall()

    def _parts(self, ids: Collection[str]) -> Iterator[builtins.list[str]]:
        """Divide ids into as few lists as the server takes statements for."""
        size = max((self._packet - len(self._sql["cancel"])) // LONGEST_ID, 1)
        rest = [*ids]
        return (rest[begin : begin + size] for begin in range(0, len(rest), size))

    def _values(self, **values: object) -> dict[str, object]:
        return values if self._clock is None else values | {"now": self._clock()}


def _quoted(name: str) -> str:
    return "`{}`".format(name.replace("`", "``"))
