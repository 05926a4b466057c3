"""MariaDB and MySQL, by PyMySQL."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.err import DataError, Error, IntegrityError, NotSupportedError, ProgrammingError

from progresskit.errors import ConfigurationError

from .driver import EXAMPLES, Driver

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import sqlalchemy as sa

CONNECT_SECONDS = 2
"""How long it may take to reach the server."""

CALL_SECONDS = 5
"""How long the server may be silent while it owes an answer; a paused one is given up then."""

LOCK_SECONDS = 2
"""How long a statement waits for a lock of another session."""

RECYCLE_SECONDS = 600
"""After this time a connection is replaced, in case that a device on the way has dropped an idle one."""

NAME_LENGTH = 64
"""The server's limit for the name of a table, in letters."""

SQL_MODE = "STRICT_ALL_TABLES"
"""No value is cut to fit, and none of the modes that read a statement in another way."""

CONFLICTS = frozenset((ER.LOCK_DEADLOCK, ER.DUP_ENTRY, ER.CHECKREAD))
"""The errors of a session that another one was in the way of; the last has changed a row that this one has read."""

LASTING = (DataError, IntegrityError, NotSupportedError, ProgrammingError, UnicodeError, OverflowError)
"""Errors of a record, or of the statement: sent again, it fails again."""

OUT_OF_RANGE = 1690

LASTING_CODES = frozenset(
    (
        *(ER.BAD_FIELD_ERROR, ER.KEY_DOES_NOT_EXITS, ER.NET_PACKET_TOO_LARGE, ER.TOO_BIG_ROWSIZE, OUT_OF_RANGE),
        *(
            ER.TRUNCATED_WRONG_VALUE,
            ER.TRUNCATED_WRONG_VALUE_FOR_FIELD,
            ER.WRONG_ARGUMENTS,
            ER.WRONG_VALUE_COUNT_ON_ROW,
        ),
    )
)
"""The same, of those that PyMySQL has no class of its own for."""

PASSING_CODES = frozenset((ER.NO_SUCH_TABLE, ER.DUP_ENTRY))
"""PyMySQL counts these as lasting, but the next call succeeds: that makes the table, and finds the row."""


class MySQL(Driver):
    """MariaDB and MySQL, which are the same to us."""

    names = ("mysql", "mysql+pymysql")
    errors = (Error, UnicodeError, OverflowError)
    begin = "BEGIN"
    time = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6"  # in any time zone

    def __init__(self, url: sa.URL, prefix: str) -> None:
        super().__init__(url, prefix)
        if len(longest := f"{prefix}_parts") > NAME_LENGTH:
            raise ConfigurationError(f"a table cannot be called {longest}: that is longer than {NAME_LENGTH} letters")
        # By the other name SQLAlchemy refuses MySQL, by this one neither.
        self.url = url.set(drivername="mysql+pymysql").update_query_dict({"charset": "utf8mb4"})

    def engine(self) -> sa.Engine:
        """Make an engine; timeouts in the URL hold."""
        if not self.url.database:
            raise ConfigurationError(f"the URL names no database; one that does looks like {EXAMPLES['mysql']}")
        arguments = {"connect_timeout": CONNECT_SECONDS, "read_timeout": CALL_SECONDS, "write_timeout": CALL_SECONDS}
        engine = self.make_engine(arguments, pool_recycle=RECYCLE_SECONDS)
        engine.dialect.skip_autocommit_rollback = True  # which saves a round trip
        try:  # an option that is not known, or a file that is not there, shows at once: this does not connect
            Connection(**engine.dialect.create_connect_args(engine.url)[1], defer_connect=True)
        except UnicodeError:  # its message would show a letter of the password
            raise ConfigurationError("PyMySQL takes no password with letters that Latin-1 does not have") from None
        except (AttributeError, NotImplementedError, OSError, TypeError, ValueError) as error:
            raise ConfigurationError(f"an option of the URL cannot be read: {error}") from None
        return engine

    @contextmanager
    def lent(self, connection: Any) -> Iterator[None]:
        """Put a session into the SQL mode of ours."""
        connection.query(f"SET @progresskit = @@sql_mode, sql_mode = '{SQL_MODE}'")
        try:
            yield
        finally:
            if connection.open:
                connection.query("SET sql_mode = @progresskit")

    def prepare(self, connection: sa.Connection) -> None:
        """Make a session independent of how the server is set; lock rows, and no gaps between them."""
        connection.exec_driver_sql(
            f"SET SESSION sql_mode = '{SQL_MODE}', wait_timeout = 28800"
            f", innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {LOCK_SECONDS}"
        )
        if connection.exec_driver_sql("SELECT @@binlog_format").scalar() != "STATEMENT":  # which refuses to write so
            connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def home(self, connection: sa.Connection, own: bool) -> Hashable:
        """Return the name of the database; a server that was restarted has all."""
        return self.url.database

    def socket(self, connection: Any) -> int | None:
        """Look into PyMySQL's connection."""
        opened = getattr(connection, "_sock", None)
        return None if opened is None else opened.fileno()

    def passes(self, error: BaseException) -> bool:
        """Go by the server's number, and the class."""
        number = _code(error)
        return number in PASSING_CODES or not (isinstance(error, LASTING) or number in LASTING_CODES)

    def is_conflict(self, error: BaseException) -> bool:
        """Go by the server's number."""
        return _code(error) in CONFLICTS


def _code(error: BaseException) -> object:
    """Return the number that the server, or the driver, gave the error."""
    return error.args[0] if error.args else None


class MariaDB(MySQL):
    """The same, under its own name."""

    names = ("mariadb", "mariadb+pymysql")
