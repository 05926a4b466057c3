"""
`django-db`: rows of the model of django-celery-results, locked while they are edited.

They are reached over Django's own connections, in threads of the kit's.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from progresskit.backends.stores import ServerClock, retry_conflicts
from progresskit.errors import BackendError, BackendUnavailable

from .bounded_executor import BoundedExecutor
from .store import PROGRESS, Meta, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from .store import Change, Edit

# Not import statements: these are requirements of the app's result backend, not of ours.
conf: Any = import_module("django.conf")
db: Any = import_module("django.db")
timezone: Any = import_module("django.utils.timezone")

SERVER_TIME = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())::float8",
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0",
}
"""The query for the time of a database; for other databases the host's clock is used."""

CASE_BLIND = frozenset(("mysql", "microsoft"))
"""These take two ids that differ in case for the same, unless a table is declared otherwise."""

PIECE = 500
"""How many ids a query asks for."""

FIELDS = ("status", "result", "content_type", "content_encoding", "date_done")


class _Conflict(Exception):
    """Another process has stored the same result first: the transaction is to be repeated."""


class DjangoStore(Store):
    """Locks the rows that are there, and makes those that are not."""

    longest = 255

    def __init__(self, app: Any, clock: Callable[[], float] | None = None) -> None:
        super().__init__(app, clock)
        self._executor = BoundedExecutor(db.connections.close_all)
        self._server_clock = ServerClock(clock)

    def __str__(self) -> str:
        return f"the {self._vendor()} database of Celery's results"

    def name(self, record: str) -> str:
        """Distinguish ids that differ in capitals only, also where the database does not."""
        if record.islower() or self._vendor() not in CASE_BLIND:
            return record
        from zlib import crc32

        return f"{record}~{crc32(record.encode()):08x}"

    def read(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Read all by one query."""
        return self._executor.call(str(self), partial(self._load, ids))

    def change(self, edits: Mapping[str, Edit]) -> None:
        """Do all in one transaction."""
        if edits:
            self._executor.call(str(self), partial(self._change, edits))

    def _change(self, edits: Mapping[str, Edit]) -> None:
        def attempt(ids: Collection[str]) -> Collection[str]:
            try:
                self._edit(edits)
            except _Conflict:
                return ids
            return ()

        retry_conflicts(edits, attempt, self)

    @property
    def _model(self) -> Any:
        return self._backend.TaskModel

    def _alias(self, *, write: bool = False) -> str:
        return str((db.router.db_for_write if write else db.router.db_for_read)(self._model))

    def _vendor(self) -> str:
        return str(db.connections[self._alias(write=True)].vendor)

    @contextmanager
    def _guarded(self, alias: str) -> Iterator[Any]:
        connection = db.connections[alias]
        try:
            if connection.connection is not None and not connection.is_usable():
                connection.close()
            yield connection
        except db.Error as error:
            connection.close()
            passing = (db.OperationalError, db.InterfaceError, db.InternalError)
            raise (BackendUnavailable if isinstance(error, passing) else BackendError)(f"{self}: {error}") from error

    def _now(self, connection: Any) -> float:
        query = SERVER_TIME.get(connection.vendor)
        return self.time() if query is None else self._server_clock(lambda: float(_scalar(connection, query)))

    def _select(self, rows: Any, ids: Collection[str]) -> dict[str, Meta]:
        found, names = dict[str, Meta](), sorted(ids)
        for begin in range(0, len(names), PIECE):
            some = rows.filter(task_id__in=names[begin : begin + PIECE]).order_by("task_id")
            for row in some.only("task_id", "status", "result", "content_encoding"):
                found[row.task_id] = Meta(row.status, self._decode(row))
        return found

    def _decode(self, row: Any) -> Any:
        try:
            return self._backend.decode_content(row, row.result)
        except Exception:
            return None  # a result of the site's own, not a record

    def _load(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        alias = self._alias()
        with self._guarded(alias) as connection, db.transaction.atomic(using=alias):
            now = self._now(connection)
            return self._select(self._model._default_manager.using(alias), ids), now

    def _edit(self, edits: Mapping[str, Edit]) -> None:
        alias = self._alias(write=True)
        rows = self._model._default_manager.using(alias)
        with self._guarded(alias) as connection:
            try:
                with db.transaction.atomic(using=alias):
                    if connection.vendor == "sqlite":
                        # With the right to write from the beginning, no row that is read changes before.
                        table = connection.ops.quote_name(self._model._meta.db_table)
                        _scalar(connection, f"UPDATE {table} SET status = status WHERE 0")
                    now = self._now(connection)
                    found = self._select(rows.select_for_update(), edits)
                    changes = {id: change for id, edit in edits.items() if (change := edit(found.get(id), now))}
                    self._store(connection, changes, found)
            except db.IntegrityError as error:
                raise _Conflict from error

    def _store(self, connection: Any, changes: Mapping[str, Change], found: Mapping[str, Meta]) -> None:
        values = {id: self._values(change) for id, change in sorted(changes.items())}
        rows = self._model._default_manager.using(connection.alias)
        rows.bulk_create([self._model(task_id=id, **values[id]) for id in values if id not in found], PIECE)
        # The new ones as well: when they are made, Django says itself when they were done. Django's own update of many
        # takes ten times as long.
        fields = [self._model._meta.get_field(name) for name in FIELDS]
        quote = connection.ops.quote_name
        names = ", ".join(f"{quote(field.column)} = %s" for field in fields)
        table, key = quote(self._model._meta.db_table), quote(self._model._meta.get_field("task_id").column)
        prepared = [
            [*(field.get_db_prep_save(row[field.name], connection) for field in fields), id]
            for id, row in values.items()
        ]
        if prepared:
            with connection.cursor() as cursor:
                cursor.executemany(f"UPDATE {table} SET {names} WHERE {key} = %s", prepared)

    def _values(self, change: Change) -> dict[str, Any]:
        content_type, content_encoding, result = self._backend.encode_content(change.result)
        done = self._done(change.expires)
        if not conf.settings.USE_TZ:
            done = timezone.make_naive(done)
        row = (PROGRESS, result, content_type, content_encoding, done)
        return dict(zip(FIELDS, row, strict=True))

    def _done(self, expires: float | None) -> datetime:
        """
        Return when the result was done, by which Celery's cleanup decides.

        For a record it is such that the cleanup removes it when it has expired, be its ttl longer than that of
        Celery's results or shorter.
        """
        if expires is None:
            return datetime.now(UTC)
        keeps: Any = self._backend.expires
        keeps = keeps if isinstance(keeps, timedelta) else timedelta(seconds=keeps or 0)
        done: datetime = datetime.fromtimestamp(expires, UTC) - keeps
        return done

    def close(self) -> None:
        """End the threads, which close their connections."""
        self._executor.close()

    def after_fork_in_child(self) -> None:
        """Forget the threads."""
        self._executor.after_fork_in_child()


def _scalar(connection: Any, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0] if cursor.description else None
