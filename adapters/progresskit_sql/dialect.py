"""The interface of a kind of database, and how its rows become records."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Hashable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from progresskit.backends.stores import StoredRecord, asks_to_stop
from progresskit.decoding import decode_each
from progresskit.progress import Role, State, Stored, body_starts_with, created_at

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.backends.stores import Decide
    from progresskit.progress import Write

    from .backend import SQLBackend


_parse = json.JSONDecoder().raw_decode

EXAMPLES = {
    "sqlite": "sqlite:////absolute/path/progress.db",
    "postgresql": "postgresql+psycopg://user:password@host/database",
    "mysql": "mysql+pymysql://user:password@host/database",
    "mariadb": "mariadb+pymysql://user:password@host/database",
}
"""Examples of the URL of a database."""


Row = tuple[str, Hashable]
"""The id of a record, and its columns for `Dialect.unpack`: equal rows hold the same record."""


class Dialect(ABC):
    """
    The SQL of one kind of database, and the settings of its driver.

    Connections are the driver's own, in autocommit mode. A worker's write is stored by one statement as long as it
    opens a record, begins an announced job or is the owner's next write. All else is decided in Python, while a
    transaction holds the rows.
    """

    shared: bool = True
    """False where other processes do not see the database."""

    fork_safe: bool = True
    """False where a connection that is open during a fork does harm, even if the child never touches it."""

    errors: tuple[type[Exception], ...]
    """The errors of the driver."""

    @abstractmethod
    def __init__(self, url: URL, prefix: str, clock: Callable[[], float] | None) -> None:
        """Check the URL; `clock` (seconds since the epoch), if given, judges leases in place of the database's own."""

    @classmethod
    def pushing(cls, url: URL) -> type[SQLBackend] | None:
        """Return the class of the backend that can push changes at this URL; None where they are polled."""
        return None

    @abstractmethod
    def ddl(self) -> builtins.list[str]:
        """Return the statements that make the table and its indexes in an empty database, each without a semicolon."""

    @abstractmethod
    def engine(self) -> Engine:
        """Make an engine for the URL, with all connections in autocommit mode."""

    @abstractmethod
    def borrowed(self, connection: Any) -> AbstractContextManager[None]:
        """Have a connection of a given engine in autocommit mode for a while."""

    @abstractmethod
    def open(self, connection: Any, own: bool) -> Hashable:
        """Get a new connection ready, and the table; return which database it leads to."""

    def leads_home(self, home: Any) -> bool:
        """Say whether a connection that led to that database when it was opened still leads to the present one."""
        return True

    def broken(self, connection: Any) -> bool:
        """Say, without asking the server, whether it has ended the connection; cheap, for it is asked at each call."""
        return False

    def missing(self) -> str | None:
        """Return the path of a file that is not there, which connecting would make; None where there is one or none."""
        return None

    @abstractmethod
    def unavailable(self, error: Exception) -> bool:
        """Say whether an error means that the same may succeed later."""

    def is_conflict(self, error: Exception) -> bool:
        """Say whether another session was in the way, so that the same succeeds if it is tried again at once."""
        return False

    @abstractmethod
    def write(self, connection: Any, batch: Sequence[Write], decide: Decide) -> None:
        """
        Store writes of workers by one statement, and those that it leaves alone as `decide` says.

        Where the statement does not say which it has left alone, and the batch has starts, all is one transaction: to
        decide a start again, after another worker's, would take the job away from that.
        """

    def transact(self, connection: Any, ids: Collection[str], decide: Decide) -> None:
        """Store as `decide_all` does, in one transaction."""
        with self.transaction(connection):
            self.decide_all(connection, ids, decide)

    def decide_all(self, connection: Any, ids: Collection[str], decide: Decide) -> None:
        """Lock the rows of the ids until the end of the transaction, and store the records that `decide` returns."""
        found, now = self.lock(connection, ids)
        rows: dict[str, StoredRecord | None] = {}
        for id, row in found:  # an undecodable body may look like more rows
            rows[id] = decode_each(id, self.unpack, row) or rows.get(id)
        decided = {id: decide(id, rows.get(id), now) for id in ids}
        changed = {id: record for id, record in decided.items() if record is not None}
        expired = [id for id, record in changed.items() if record.expires_at <= now and id in rows]
        for id in expired:
            del changed[id]
        if expired:
            self.delete(connection, expired)
        if changed:
            added = [id for id in changed if id not in rows]
            cancelled = [id for id in changed if asks_to_stop(changed[id], rows.get(id))]
            self.store(connection, changed, added, cancelled)

    @abstractmethod
    def transaction(self, connection: Any) -> AbstractContextManager[None]:
        """Have statements take effect together."""

    @abstractmethod
    def lock(self, connection: Any, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Return the rows of those ids, which no other session can change during the transaction, and the time."""

    @abstractmethod
    def store(
        self,
        connection: Any,
        records: Mapping[str, StoredRecord],
        added: Collection[str],
        cancelled: Collection[str],
    ) -> None:
        """
        Replace the records of rows that are locked, and insert those of `added`.

        `cancelled` were asked to stop just now. Fails with a conflict where another session has inserted the same row.
        """

    @abstractmethod
    def delete(self, connection: Any, ids: Collection[str]) -> None:
        """Delete rows that are locked."""

    @abstractmethod
    def load(self, connection: Any, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Return the rows of those ids that have not expired, and the time by the clock that judges leases."""

    @abstractmethod
    def unpack(self, row: Any) -> StoredRecord:
        """Return the record of a row; ValueError or TypeError where it is none."""

    @abstractmethod
    def cancel_requested(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Return those that were asked to stop."""

    @abstractmethod
    def list(
        self, connection: Any, kind: str | None, states: Collection[State] | None, limit: int
    ) -> tuple[builtins.list[Row], float]:
        """Return the rows written last, newest first, and the time."""

    @abstractmethod
    def sweep(self, connection: Any, limit: int) -> int:
        """Delete records that have expired, at most `limit`, the oldest first; return how many there were."""


def record_of(
    numbers: Iterable[Any], state: str, created: str | None, token: str | None, override: str | None, body: str
) -> StoredRecord:
    """Return the record of the columns of record.sql; the numbers may be texts."""
    run, attempt, seq, cancel_requested, restored, born, opened, *times = map(float, numbers)
    stored = Stored(
        run=int(run),
        attempt=int(attempt),
        seq=int(seq),
        token=token,
        state=State(state),
        body=body,
        override=override or None,
        created=created_at(body) if created is None else created or None,
        cancel_requested=bool(cancel_requested),
        opened=opened,
        restored=bool(restored),
        born=int(born),
    )
    heard_at, lease, expires_at = times
    return StoredRecord(stored, heard_at, lease, expires_at)


COLUMNS = (
    *("id", "run", "attempt", "seq", "token", "state", "kind", "body", "created", "verdict", "cancel_requested"),
    *("lease", "heard_at", "expires_at", "opened_at", "restored", "born"),
)
"""The columns of a record that was decided."""


def row_of(id: str, record: StoredRecord) -> tuple[object, ...]:
    """Return the values of COLUMNS."""
    stored, times = record.stored, (record.lease, record.heard_at, record.expires_at)
    kind, created = kind_of(id, stored.body), stored.created or ""
    version, state = (stored.run, stored.attempt, stored.seq), str(stored.state)
    known = (id, *version, stored.token, state, kind, stored.body, created, stored.override, stored.cancel_requested)
    return *known, *times, stored.opened, stored.restored, stored.born


def upsert(least: str) -> str:
    """Return upsert.sql; `least` is the function of the database for the smaller one of two numbers."""
    own = "stored.token = excluded.token"
    repeated = f"{own} AND (stored.attempt, stored.seq) = (excluded.attempt, excluded.seq)"
    text = files(__package__).joinpath("upsert.sql").read_text("utf-8")
    return text.format(own=own, repeated=repeated, least=least)


def kind_of(id: str, body: str) -> str | None:
    """Return the kind that a body states, of a job with that id; None where it states none."""
    beginning = body_starts_with(id)
    try:
        kind = _parse(body, len(beginning))[0] if body.startswith(beginning) else json.loads(body).get("kind")
    except (ValueError, AttributeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None


def opening_time(write: Write) -> str | None:
    """
    Return the column `created` of a record that the write opens: '' where the body states no time.

    An update opens no record, unless the store has lost the one that was there. Then the column is NULL, so that the
    next write is decided in Python, which adds the time: to find it in the body of each update takes too long.
    """
    return None if write.role is Role.UPDATE else created_at(write.body) or ""
