"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from progresskit.errors import ConfigurationError
from progresskit.progress import FINAL_STATES

from .driver import Driver
from .waiting import WaitingConnection, bounded

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from .backend import SQLBackend
    from .rows import Changes

CONNECT_SECONDS = 2
"""How long it may take to reach the server."""

STATEMENT_MS = 3_000
"""How long the server works on a statement, or waits for a lock of another session, before it gives up by itself."""

NAME_LENGTH = 63
"""The server's limit for the name of a table, an index or a channel, in bytes; longer ones are cut without a word."""

PAYLOAD = 7_800
"""How long the ids in one notification may be; the server takes 8,000 bytes."""

KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 5_000}
"""An idle connection to a server that is gone is noticed after 19 s (seconds, count, ms)."""

WHOLE = frozenset(("connect_timeout", "keepalives", *KEEPALIVE))
"""The options of libpq that are whole numbers, which it looks at when it connects."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

FLAGS = {"on": True, "off": False, "true": True, "false": False, "1": True, "0": False}

LASTING = (psycopg.DataError, psycopg.IntegrityError, psycopg.NotSupportedError, psycopg.ProgrammingError)
"""Errors of a record, or of the statement: sent again, it fails again."""

CONFLICTS = frozenset(("23505", "40001", "40P01"))
"""Another session has inserted the row, has changed it (with more isolation than we ask for), or was in a deadlock."""

PASSING = CONFLICTS | {"3D000", "3F000", "42P01", "42501"}
"""The next call helps, or a change at the server: there is no such database, schema, table or right."""

NOTIFY = sa.select(sa.func.pg_notify(sa.bindparam("channel"), sa.bindparam("ids")))

NOTIFY_SOON = NOTIFY.add_columns(sa.func.set_config("synchronous_commit", "off", True))
"""The same, and have the commit not wait for the disk."""

HOME = sa.text("SELECT to_regclass(:table)::oid, pg_postmaster_start_time(), pg_backend_pid()")


class PostgreSQL(Driver):
    """
    PostgreSQL, with options in the URL that are the kit's own.

    `listen=off`: changes are polled, no connection is kept for notifications. `pooler=on`: there is a pooler on
    the way, such as PgBouncer, that lends its connections for one transaction; then there is no listening, no prepared
    statement and no parameter that is set at the start. `schema=…`: the one that the tables are in.
    """

    names = ("postgresql", "postgresql+psycopg")
    errors = (psycopg.Error, UnicodeError, OverflowError)
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    before_making = "SELECT pg_advisory_xact_lock(7364208)"  # even with IF NOT EXISTS one of two sessions would fail
    time = "SELECT extract(epoch FROM clock_timestamp())::double precision"

    def __init__(self, url: sa.URL, prefix: str) -> None:
        super().__init__(url, prefix)
        self.channel, self.cancels_channel = f"{prefix}_jobs", f"{prefix}_jobs_cancels"
        longest = f"{prefix}_jobs_by_expires"
        if len(longest.encode()) > NAME_LENGTH:
            raise ConfigurationError(f"an index cannot be called {longest}: that is over {NAME_LENGTH} bytes")
        self.schema = _text(url, "schema")
        self._is_pooled = _flag(url, "pooler", default=False)
        self.url = url.difference_update_query(("listen", "pooler", "schema")).set(drivername="postgresql+psycopg")
        quoted = (name.replace('"', '""') for name in (self.schema, self.channel) if name)
        self._table = ".".join(f'"{name}"' for name in quoted)

    @classmethod
    def pushing(cls, url: sa.URL) -> type[SQLBackend] | None:
        """Push, unless the URL switches LISTEN off."""
        from .listening import ListeningBackend

        return ListeningBackend if _flag(url, "listen", default=not _flag(url, "pooler", default=False)) else None

    def engine(self) -> sa.Engine:
        """Make an engine; options in the URL hold."""
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "application_name": "progresskit", **KEEPALIVE}
        ours = f"-c statement_timeout={STATEMENT_MS} -c default_transaction_isolation=read\\ committed"
        options = f"{ours} {_text(self.url, 'options') or ''}".strip()
        engine = self.make_engine(arguments, use_native_hstore=False)
        own = {"prepare_threshold": None} if self._is_pooled else {"options": options}
        sa.event.listen(engine, "do_connect", partial(_connect, own))
        _check(engine.url)  # which a plugin of SQLAlchemy's has taken its own options from
        return engine

    def lent(self, connection: Any) -> AbstractContextManager[None]:
        """Limit its patience."""
        return bounded(connection)

    def home(self, connection: sa.Connection, own: bool) -> Hashable:
        """Return which table it is, and since when the server runs: after a crash something may be missing."""
        table, begun, pid = connection.execute(HOME, {"table": self._table}).one()
        driver: Any = connection.connection.driver_connection
        if own and pid != driver.pgconn.backend_pid:  # another session may be asked for a statement prepared here
            driver.prepare_threshold = None
        return table, begun

    def socket(self, connection: Any) -> int | None:
        """Ask libpq."""
        is_closed = connection.closed or connection.pgconn.transaction_status == TransactionStatus.UNKNOWN
        return None if is_closed else connection.pgconn.socket

    def stored(self, connection: sa.Connection, changes: Changes) -> None:
        """Notify, and wait for the disk only where a job or a part has ended: all else is soon written again."""
        notify = NOTIFY_SOON if FINAL_STATES.isdisjoint(changes.states) else NOTIFY
        for channel, ids in ((self.channel, changes.notified), (self.cancels_channel, changes.cancelled)):
            for piece in _pieces(ids):
                connection.execute(notify, {"channel": channel, "ids": piece})

    def passes(self, error: BaseException) -> bool:
        """Go by the class of the error, and the server's code."""
        is_lasting = isinstance(error, (*LASTING, UnicodeError, OverflowError))
        return not is_lasting or getattr(error, "sqlstate", None) in PASSING

    def is_conflict(self, error: BaseException) -> bool:
        """Go by the server's code."""
        return getattr(error, "sqlstate", None) in CONFLICTS


def _connect(own: dict[str, Any], dialect: Any, record: Any, arguments: Any, options: Any) -> psycopg.Connection[Any]:
    try:
        return WaitingConnection.connect(*arguments, **options | own)
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            hint = "behind a pooler, put ?pooler=on into the URL, and none of the server's options"
            raise psycopg.OperationalError(f"{error}: {hint}") from None
        raise


def _check(url: sa.URL) -> None:
    """Check now for errors that libpq finds as it connects, where they look like a server that is away."""
    for name in url.query:
        value = _text(url, name) or ""
        try:
            make_conninfo(**{name: value})
        except psycopg.ProgrammingError:
            raise ConfigurationError(f"the URL's option {name} is not known to libpq") from None
        if name in WHOLE and not value.removeprefix("-").isdecimal():
            raise ConfigurationError(f"the URL's option {name} must be a whole number, not {value!r}")
        if name == "sslmode" and value not in SSL_MODES:
            raise ConfigurationError(f"the URL's option sslmode must be one of {', '.join(SSL_MODES)}, not {value!r}")


def _text(url: sa.URL, name: str) -> str | None:
    value = url.query.get(name)
    return " ".join(value) if isinstance(value, tuple) else value


def _flag(url: sa.URL, name: str, *, default: bool) -> bool:
    value = (_text(url, name) or ("on" if default else "off")).lower()
    if value not in FLAGS:
        raise ConfigurationError(f"the URL's option {name} must be on or off, not {value!r}")
    return FLAGS[value]


def _pieces(ids: Iterable[str]) -> Iterator[str]:
    """Join ids, as many as one notification takes."""
    piece = ""
    for id in ids:
        if len(piece) + len(id) >= PAYLOAD:
            yield piece
            piece = ""
        piece = f"{piece},{id}" if piece else id
    if piece:
        yield piece
