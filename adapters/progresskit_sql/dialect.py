"""The interface of a kind of database, and how its rows become records."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Hashable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from progresskit.backends.parts import JobWithParts
from progresskit.backends.stores import StoredRecord
from progresskit.decoding import decode_each
from progresskit.parts import Tally
from progresskit.progress import Role, State, Stored, body_starts_with, created_at

from .changes import Changes, TableRecord, digest_of

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.backends.parts import DecideParts
    from progresskit.backends.stores import Decide
    from progresskit.parts import Part, Report
    from progresskit.progress import Write

    from .backend import SQLBackend
    from .changes import PartRow


_parse = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode

EXAMPLES = {
    "sqlite": "sqlite:////absolute/path/progress.db",
    "postgresql": "postgresql+psycopg://user:password@host/database",
    "mysql": "mysql+pymysql://user:password@host/database",
    "mariadb": "mariadb+pymysql://user:password@host/database",
}
"""Examples of the URL of a database."""


UNIT = "\x1f"
"""The separator of the values of a record that is one text; JSON holds none."""

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

    has_report: bool = False
    """True where `report` stores what needs no decision."""

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
        """Return the statements that make the tables and indexes in an empty database, each without a semicolon."""

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
    def write(self, connection: Any, batch: Sequence[Write], decide: DecideParts) -> None:
        """
        Store writes of workers by one statement, and those that it leaves alone as `decide` says.

        Where the statement does not say which it has left alone, and the batch has starts, all is one transaction: to
        decide a start again, after another worker's, would take the job away from that.
        """

    def report(self, connection: Any, reports: Sequence[Report]) -> tuple[dict[str, str], builtins.list[Report]]:
        """Store what needs no decision; return the run token of each job that took a report, and the reports left."""
        parts = {(report.parent, digest_of(report.name)): report for report in reports}
        repeated = set[str]()
        if len(parts) < len(reports):
            kept = {*map(id, parts.values())}
            repeated = {report.parent for report in reports if id(report) not in kept}
        alone = {key: report for key, report in parts.items() if not (report.is_external or report.parent in repeated)}
        if not alone:
            return {}, [*reports]
        run_tokens, taken = self.store_reports(connection, alone)
        if len(taken) == len(reports):
            return run_tokens, []
        return run_tokens, [report for report in reports if (report.parent, digest_of(report.name)) not in taken]

    def store_reports(
        self, connection: Any, reports: Mapping[tuple[str, int], Report]
    ) -> tuple[dict[str, str], Collection[tuple[str, int]]]:
        """Store what needs no decision; return run tokens by job, and the jobs and digests of reports that it took."""
        return {}, ()

    def transact(
        self, connection: Any, ids: Collection[str], decide: DecideParts, names: Mapping[str, Sequence[str]] = {}
    ) -> None:
        """Store as `decide_all` does, in one transaction."""
        with self.transaction(connection):
            self.decide_all(connection, ids, decide, names)

    def decide_all(
        self, connection: Any, ids: Collection[str], decide: DecideParts, names: Mapping[str, Sequence[str]] = {}
    ) -> None:
        """
        Lock the rows of the ids until the end of the transaction, and store what `decide` returns.

        `names` has, by job, those parts that are decided with it: the lock on a job's row is one on its parts.
        """
        digests = {id: {digest_of(name): name for name in those} for id, those in names.items()}
        found, now, part_rows = self.lock_with_parts(connection, ids, digests)
        rows: dict[str, TableRecord | None] = {}
        for id, row in found:  # an undecodable body may look like more rows
            rows[id] = decode_each(id, self.unpack, row) or rows.get(id)
        parts: dict[str, dict[str, Part]] = {}
        for id, digest, part in part_rows:
            parts.setdefault(id, {})[digests[id][digest]] = part
        changes = Changes(now)
        for id in ids:
            before = rows.get(id)
            job = decide(id, before and before.record, parts.get(id, {}), now)
            if job is not None:
                changes.add(id, before, job, is_there=id in rows)
        if changes.deleted:
            self.delete(connection, changes.deleted)
        if changes.records:
            self.store(connection, changes)

    @abstractmethod
    def lock_with_parts(
        self, connection: Any, ids: Collection[str], digests: Mapping[str, Collection[int]]
    ) -> tuple[builtins.list[Row], float, builtins.list[PartRow]]:
        """Return the same as `lock`, and of the rows of parts, read after that, those with the digests, by job."""

    @abstractmethod
    def transaction(self, connection: Any) -> AbstractContextManager[None]:
        """Have statements take effect together."""

    @abstractmethod
    def lock(self, connection: Any, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Return the rows of those ids, which no other session can change during the transaction, and the time."""

    @abstractmethod
    def store(self, connection: Any, changes: Changes) -> None:
        """
        Store records and parts: replace the rows that are locked, and insert the others.

        Fails with a conflict where another session has inserted the same row of a job.
        """

    @abstractmethod
    def delete(self, connection: Any, ids: Collection[str]) -> None:
        """Delete rows that are locked."""

    @abstractmethod
    def load(self, connection: Any, ids: Collection[str]) -> tuple[builtins.list[Row], float]:
        """Return the rows of those ids that have not expired, and the time by the clock that judges leases."""

    def unpack(self, row: Any) -> TableRecord:
        """Return the record of a row, of one text unless overridden; ValueError or TypeError where it is none."""
        head, created, token, group, override, body = row.split(UNIT)
        _, state, *numbers = head.split(" ")
        key, _, tally = group.partition(" ")
        texts = (created[1:] if created else None, token[1:] if token else None, override, tally or None)
        return record_of(numbers, state, *texts, int(key) if key else None, body)

    @abstractmethod
    def cancel_requested(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Return those that were asked to stop."""

    @abstractmethod
    def list(
        self,
        connection: Any,
        kind: str | None,
        states: Collection[State] | None,
        limit: int,
        member: str | None,
    ) -> tuple[builtins.list[Row], float]:
        """Return the rows written last that have the text `member` in their bodies, newest first, and the time."""

    @abstractmethod
    def sweep_parts(self, connection: Any, limit: int) -> int:
        """Delete parts of jobs that have expired, at most `limit`; return how many there were."""

    @abstractmethod
    def sweep(self, connection: Any, limit: int) -> int:
        """Delete records that have expired, and have no parts, at most `limit`, the oldest first; return how many."""


def with_parts(decide: Decide) -> DecideParts:
    """Return a decision about jobs that leaves their parts as they are."""

    def decide_job(id: str, record: StoredRecord | None, parts: object, now: float) -> JobWithParts | None:
        after = decide(id, record, now)
        return None if after is None else JobWithParts(after, {}, is_written=True, is_new=True)

    return decide_job


def record_of(
    numbers: Iterable[Any],
    state: str,
    created: str | None,
    token: str | None,
    override: str | None,
    tally: str | None,
    parts_key: int | None,
    body: str,
) -> TableRecord:
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
        tally=_tally_of(tally, int(run)) if tally else None,
    )
    heard_at, lease, expires_at = times
    return TableRecord(StoredRecord(stored, heard_at, lease, expires_at), parts_key)


def with_ids(rows: Iterable[str]) -> list[Row]:
    """Return records that are texts with the ids that these begin with."""
    return [(row.partition(" ")[0], row) for row in rows]


def _tally_of(text: str, run: int) -> Tally | None:
    """Return the sums of a run; None for those of another one, which a process of an earlier release has begun."""
    of_run, *values = _parse(text)[0]
    return Tally.load(values) if of_run == run else None


ADDED = ("opened_at", "restored", "born", "tally", "parts_key")
"""The columns that a table of an earlier version lacks, in the order of upgrade.sql."""

COLUMNS = (
    *("id", "run", "attempt", "seq", "token", "state", "kind", "body", "created", "verdict", "cancel_requested"),
    *("lease", "heard_at", "expires_at", *ADDED),
)
"""The columns of a record that was decided."""

PART_COLUMNS = ("parts_key", "digest", "token", "state", "weight", "hundredths", "opened_at", "restored")
"""The columns of a part."""


def row_of(id: str, row: TableRecord) -> tuple[object, ...]:
    """Return the values of COLUMNS."""
    record, parts_key = row
    stored, times = record.stored, (record.lease, record.heard_at, record.expires_at)
    kind, created = kind_of(id, stored.body), stored.created or ""
    version, state = (stored.run, stored.attempt, stored.seq), str(stored.state)
    known = (id, *version, stored.token, state, kind, stored.body, created, stored.override, stored.cancel_requested)
    tally = None if stored.tally is None else _encode((stored.run, *stored.tally))
    return *known, *times, stored.opened, stored.restored, stored.born, tally, parts_key


def row_of_part(parts_key: int, digest: int, part: Part) -> tuple[object, ...]:
    """Return the values of PART_COLUMNS."""
    return parts_key, digest, part.token, str(part.state), part.weight, part.hundredths, part.opened, part.restored


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
