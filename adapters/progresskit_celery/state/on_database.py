"""`db+…`: rows of Celery's own table, by way of an engine of the kit's own."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any

from celery.backends.database.session import SessionManager

from progresskit.backends import keep_inherited
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.urls import describe

from .address import backend_class
from .database import Conflict, RowStore
from .store import PROGRESS, Meta

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from .store import Change, Edit

# Not an import statement: this is a requirement of the app's result backend, not of ours.
sa: Any = import_module("sqlalchemy")

PIECE = 500
"""How many ids a query asks for."""


class DatabaseStore(RowStore):
    """
    Locks the rows that are there, and makes those that are not.

    Celery's own engine is not used: outside of a worker it connects again for each call.
    """

    def __init__(self, app: Any, clock: Callable[[], float] | None) -> None:
        super().__init__(app, clock)
        self._database = backend_class(app)[1] or app.conf.database_url
        _check(self._database, app.conf.database_engine_options or {})
        self._lock = Lock()
        self._made: Any = None
        self._closes = 0

    def _vendor(self) -> str:
        # Not the URL of Celery's backend, which connects as it is made, and tries that again and again.
        return str(sa.make_url(self._database).get_backend_name())

    @property
    def _sqlite(self) -> bool:
        return self._vendor() == "sqlite"

    def _engine(self) -> Any:
        closes = self._closes
        with self._lock:
            if self._made is None:
                self._check_open(closes)  # the lock may have been waited for until after the end
                backend = self._backend
                engine = sa.create_engine(backend.url, **({"pool_pre_ping": True} | backend.engine_options))
                # Celery before 5.5 has one for all its backends, out of reach.
                sessions = getattr(backend, "session_manager", None) or SessionManager()
                if getattr(sessions, "engine_callback", None) is not None:
                    sessions.engine_callback(engine)
                try:
                    sessions.prepare_models(engine)
                except BaseException:
                    engine.dispose()
                    raise
                level = "AUTOCOMMIT" if self._sqlite else "READ COMMITTED"
                self._made = engine.execution_options(isolation_level=level)
                try:
                    self._check_open(closes)
                except BackendUnavailable:
                    self._made = None
                    engine.dispose()
                    raise
            return self._made

    def _check_open(self, closes: int) -> None:
        if self._closes != closes:
            raise BackendUnavailable(f"{self}: closed meanwhile")

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            engine = self._engine()
            pool = engine.pool
            try:
                with engine.connect() as connection:
                    yield connection
            finally:
                if self._made is not engine:  # closed meanwhile, without waiting for this call
                    pool.dispose()
        except sa.exc.SQLAlchemyError as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> BackendError:
        passing = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError)
        now = isinstance(error, passing) or getattr(error, "connection_invalidated", False)
        # Its own text would have the statement, and the values in it.
        text = describe(getattr(error, "orig", None) or error, str(self._database))
        return (BackendUnavailable if now else BackendError)(f"{self}: {text}")

    @contextmanager
    def _transaction(self, connection: Any) -> Iterator[None]:
        if not self._sqlite:
            with connection.begin():
                yield
            return
        # By hand, with the right to write from the beginning: no row that was read changes before.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")

    @property
    def _table(self) -> Any:
        return self._backend.task_cls.__table__

    def _now(self, connection: Any) -> float:
        return self._time(lambda query: connection.exec_driver_sql(query).scalar_one())

    def _select(self, connection: Any, ids: Collection[str], *, lock: bool = False) -> dict[str, Meta]:
        columns, found = self._table.c, dict[str, Meta]()
        # Decoded here, one by one: the column's own type would fail for all of them.
        raw = sa.type_coerce(columns.result, sa.LargeBinary) if self._pickles else columns.result
        names = sorted(ids)
        for begin in range(0, len(names), PIECE):
            query = sa.select(columns.task_id, columns.status, raw)
            query = query.where(columns.task_id.in_(names[begin : begin + PIECE])).order_by(columns.task_id)
            rows = connection.execute(query.with_for_update() if lock else query)
            found |= {id: Meta(status, self._decode(result)) for id, status, result in rows}
        return found

    def _load(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        with self._connected() as connection:
            now = self._now(connection)
            found = self._select(connection, ids)
            if not self._sqlite:
                connection.rollback()
        return found, now

    def _edit(self, edits: Mapping[str, Edit]) -> None:
        with self._connected() as connection:
            try:
                with self._transaction(connection):
                    now = self._now(connection)
                    found = self._select(connection, edits, lock=not self._sqlite)
                    changes = {id: change for id, edit in edits.items() if (change := edit(found.get(id), now))}
                    self._store(connection, changes, found)
            except sa.exc.IntegrityError as error:
                raise Conflict from error

    def _store(self, connection: Any, changes: Mapping[str, Change], found: Mapping[str, Meta]) -> None:
        rows = [{"key": id, **self._values(change)} for id, change in sorted(changes.items())]
        if old := [row for row in rows if row["key"] in found]:
            update = sa.update(self._table).where(self._table.c.task_id == sa.bindparam("key"))
            values = {name: sa.bindparam(f"new_{name}") for name in ("status", "result", "date_done")}
            connection.execute(update.values(values), [_new(row) for row in old])
        if new := [row for row in rows if row["key"] not in found]:
            connection.execute(sa.insert(self._table), [{"task_id": row.pop("key"), **row} for row in new])

    def _values(self, change: Change) -> dict[str, Any]:
        return {"status": PROGRESS, "result": self._encode(change.result), "date_done": self._done(change)}

    @property
    def _pickles(self) -> bool:
        # Before Celery 5.7 the column pickles by itself, with any serializer.
        return isinstance(self._table.c.result.type, sa.PickleType)

    def _encode(self, result: Any) -> Any:
        if self._pickles:
            return result
        payload = self._backend.encode(result)
        return payload.encode() if isinstance(payload, str) else payload

    def _decode(self, payload: Any) -> Any:
        if payload is None:
            return None
        try:
            if self._pickles:
                return self._table.c.result.type.pickler.loads(bytes(payload))
            return self._backend.decode(bytes(payload))
        except Exception:
            return None  # a result of the site's own, not a record

    def _leave(self) -> None:
        """Do nothing: the connections are the engine's."""

    def close(self) -> None:
        """End the threads, and close the connections."""
        super().close()
        # Not with the lock, which is held for as long as a server that hangs is connected to.
        self._closes += 1
        engine, self._made = self._made, None
        if engine is not None:
            engine.dispose()

    def after_fork_in_child(self) -> None:
        """Forget the engine."""
        super().after_fork_in_child()
        self._lock = Lock()
        if self._made is not None:
            keep_inherited(self._made.pool)
            self._made.dispose(close=False)
            self._made = None


def _check(url: Any, options: Mapping[str, Any]) -> None:
    """Make an engine, which imports the driver: now, and not in the first thread that connects."""
    try:
        sa.create_engine(url, **options)
    except ImportError as error:
        raise ConfigurationError(
            f"the result backend of the Celery app needs the package {error.name or error}, which is not installed"
        ) from None
    except (sa.exc.NoSuchModuleError, TypeError) as error:
        raise ConfigurationError(f"the result backend of the Celery app cannot be had: {error}") from None
    except (sa.exc.ArgumentError, ValueError):  # their texts may have a password in them
        raise ConfigurationError(
            "the result backend of the Celery app is not the URL of a database, or an option of it cannot be read; "
            "one looks like db+postgresql+psycopg://user:password@host:5432/name"
        ) from None


def _new(row: dict[str, Any]) -> dict[str, Any]:
    return {name if name == "key" else f"new_{name}": value for name, value in row.items()}
