"""How the server is reached, and how a connection of our own is set at its start."""

from __future__ import annotations

import os
import select
from contextlib import contextmanager, suppress
from inspect import signature
from typing import TYPE_CHECKING, Any

from pymysql import Error
from pymysql.connections import Connection
from pymysql.constants import CLIENT
from sqlalchemy import QueuePool, create_engine, event
from sqlalchemy.exc import ArgumentError

from progresskit.errors import ConfigurationError
from progresskit_sql.dialect import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import URL, Engine

CONNECT_SECONDS = 2
"""How long it may take to reach the server."""

CALL_SECONDS = 5
"""How long the server may be silent while it owes an answer; a paused one is given up then."""

LOCK_SECONDS = 2
"""How long a statement waits for a lock of another session."""

RECYCLE_SECONDS = 600
"""After this time a connection is replaced, in case that a device on the way has dropped an idle one."""

FILES = ("ca", "capath", "cert", "key")
"""The options of TLS that name files, without the `ssl_` before them."""

BESIDE_STATEMENT = 64
"""Bytes of a packet that are no statement, and some more."""

SQL_MODE = "STRICT_ALL_TABLES"
"""No value is cut to fit, and none of the modes that read a statement in another way."""

LOCK_ROWS = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""Lock rows, and no gaps between them; a server that replicates by statements refuses to write so."""


def check_driver(url: URL) -> None:
    """Raise ConfigurationError for the URL of another driver; without one it is ours."""
    name = url.get_backend_name()
    if url.drivername not in {name, f"{name}+pymysql"}:
        raise ConfigurationError(f"{url.drivername}:// is another driver's; progresskit needs {name}+pymysql://")


def make_engine(url: URL) -> Engine:
    """Make an engine in autocommit mode; timeouts in the URL hold."""
    example = EXAMPLES[url.get_backend_name()]
    if not url.database:
        raise ConfigurationError(f"the URL names no database; one that does looks like {example}")
    timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": CALL_SECONDS, "write_timeout": CALL_SECONDS}
    arguments: dict[str, Any] = {name: seconds for name, seconds in timeouts.items() if name not in url.query}
    arguments |= {"autocommit": True, "charset": "utf8mb4"}
    try:
        engine = create_engine(
            url.set(drivername="mysql+pymysql"),  # by the other name SQLAlchemy refuses MySQL, by this one neither
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=-1,
            pool_recycle=RECYCLE_SECONDS,
            pool_reset_on_return=None,
            connect_args=arguments,
        )
        _check({**engine.dialect.create_connect_args(engine.url)[1], **arguments})
    except ArgumentError:
        raise ConfigurationError(f"not the URL of a database; one looks like {example}") from None
    except UnicodeError:  # its message would show a letter of the password
        raise ConfigurationError("PyMySQL takes no password with letters that Latin-1 does not have") from None
    except (AttributeError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise ConfigurationError(f"an option of the URL cannot be read: {error}") from None
    event.listen(engine, "do_connect", lambda _dialect, _record, arguments, options: _Connection(*arguments, **options))
    return engine


def _check(options: dict[str, Any]) -> None:
    """Make a connection, which does not connect, so that an option that it does not know shows at once."""
    for name in options.keys() - signature(Connection).parameters.keys():
        raise ConfigurationError(f"the URL's option {name} is not known to PyMySQL")
    for name, path in options.get("ssl", {}).items():
        if name in FILES and not os.path.exists(path):
            raise ConfigurationError(f"the URL's option ssl_{name} names {path}, and there is no such file")
    _Connection(**options, defer_connect=True)


class _Connection(Connection):  # type: ignore[misc]
    """
    One that sends several statements in a round trip, and shares its default TLS context with the others.

    PyMySQL reads all authorities of the system each time it tries to connect: 30 ms of CPU, also with no server. Unless
    the URL has options of TLS, that is done once.
    """

    _shared: Any = None

    def __init__(self, *arguments: Any, client_flag: int = 0, **options: Any) -> None:
        self.delayed: list[str] = []
        self.packet = 0
        super().__init__(*arguments, client_flag=client_flag | CLIENT.MULTI_STATEMENTS, **options)

    def query(self, sql: str, unbuffered: bool = False) -> int:
        """Send those that were delayed before it; return how many rows the statement has, or has changed."""
        delayed, self.delayed = self.delayed, []
        if not fits([*delayed, sql], self.packet):
            for statement in delayed:
                super().query(statement)
            delayed = []
        affected: int = super().query(";".join((*delayed, sql)), unbuffered)
        for _ in delayed:
            affected = self.next_result(unbuffered)
        return affected

    def commit(self) -> None:
        """Send the last statements of the transaction with it."""
        self.query("COMMIT")

    def rollback(self) -> None:
        """Undo what was sent, and send no more of it."""
        self.delayed = []
        super().rollback()

    def _create_ssl_ctx(self, options: Any) -> Any:
        if options:
            return super()._create_ssl_ctx(options)
        if _Connection._shared is None:
            _Connection._shared = super()._create_ssl_ctx(options)
        return _Connection._shared


def fits(statements: Sequence[str], packet: int) -> bool:
    """Return whether the server takes the statements at once, so many bytes of them; 0 where that is not known."""
    length = sum(map(len, statements)) + len(statements) + BESIDE_STATEMENT
    return not packet or length * 4 <= packet or sum(len(each.encode()) + 1 for each in statements) < packet


def delay(connection: Any, statement: str) -> None:
    """Send a statement that has no rows, with the next one where that is possible."""
    if isinstance(connection, _Connection):
        connection.delayed.append(statement)
    else:
        _execute(connection, statement)


def fetch_each(connection: Any, statements: Sequence[str]) -> list[Sequence[tuple[Any, ...]]]:
    """Return the rows of each statement, in one round trip where that is possible."""
    if not (isinstance(connection, _Connection) and fits(statements, connection.packet)):
        return [_execute(connection, statement) for statement in statements]
    with connection.cursor() as cursor:
        cursor.execute(";".join(statements))
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    return found


def silent(connection: Any) -> bool:
    """Return True for an idle connection that is open and has no data to read; the server is not asked."""
    opened = getattr(connection, "_sock", None)
    return opened is not None and not select.select([opened], [], [], 0)[0]


def session() -> str:
    """Return the statement that makes a session independent of how the server is set."""
    return (
        f"SET SESSION sql_mode = '{SQL_MODE}', wait_timeout = 28800"
        f", innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {LOCK_SECONDS}"
    )


def prepare(connection: Any) -> None:
    """Set up a session of our own."""
    _execute(connection, session())
    if ("binlog_format", "STATEMENT") not in _execute(connection, "SHOW VARIABLES LIKE 'binlog_format'"):
        _execute(connection, LOCK_ROWS)


def _execute(connection: Any, statement: str) -> tuple[tuple[Any, ...], ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows: tuple[tuple[Any, ...], ...] = cursor.fetchall()
    return rows


def longest_packet(connection: Any) -> int:
    """Return how many bytes a statement may have; a connection of our own keeps that in mind."""
    packet = int(_execute(connection, "SELECT @@max_allowed_packet")[0][0])
    if isinstance(connection, _Connection):
        connection.packet = packet
    return packet


@contextmanager
def autocommit(connection: Any) -> Iterator[None]:
    """Make each statement of a given session a transaction of its own, in the SQL mode of ours."""
    before = connection.get_autocommit()
    _execute(connection, f"SET @progresskit = @@sql_mode, autocommit = 1, sql_mode = '{SQL_MODE}'")
    try:
        yield
    finally:
        if connection.open:
            _execute(connection, f"SET autocommit = {before:d}, sql_mode = @progresskit")


@contextmanager
def transaction(connection: Any) -> Iterator[None]:
    """Have statements take effect together."""
    delay(connection, "BEGIN")
    try:
        yield
        connection.commit()
    except BaseException:
        if connection.open:
            with suppress(Error):
                connection.rollback()
        raise
