"""Which errors of the server and of PyMySQL pass."""

from __future__ import annotations

from pymysql.constants import ER
from pymysql.err import DataError, IntegrityError, NotSupportedError, ProgrammingError

LOCK_WAIT_TIMEOUT = ER.LOCK_WAIT_TIMEOUT
NO_SUCH_TABLE, NO_SUCH_COLUMN, DUPLICATE_COLUMN = ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.DUP_FIELDNAME

CONFLICTS = frozenset(
    (
        ER.LOCK_DEADLOCK,
        ER.DUP_ENTRY,  # another session has inserted the row
        ER.CHECKREAD,  # or changed it, where the isolation of a session is more than we ask for
    )
)
"""The errors of a session that another one was in the way of."""

LASTING = (DataError, IntegrityError, NotSupportedError, ProgrammingError, UnicodeError, OverflowError)
"""Errors of a record, or of the statement: sent again, it fails again."""

LASTING_CODES = frozenset(
    (
        ER.BAD_FIELD_ERROR,  # a table of another shape, as the next one is
        ER.KEY_DOES_NOT_EXITS,
        ER.NET_PACKET_TOO_LARGE,
        1690,  # a value is out of range
        ER.TOO_BIG_ROWSIZE,
        ER.TRUNCATED_WRONG_VALUE,
        ER.TRUNCATED_WRONG_VALUE_FOR_FIELD,
        ER.WRONG_ARGUMENTS,
        ER.WRONG_VALUE_COUNT_ON_ROW,
    )
)
"""The same, of those that PyMySQL has no class of its own for."""

PASSING_CODES = frozenset((NO_SUCH_TABLE, ER.DUP_ENTRY))
"""PyMySQL counts these as such, but the next call succeeds: that makes the table, and finds the row."""


def unavailable(error: Exception) -> bool:
    """
    Say whether the same may succeed later: the server is away, full, busy, read-only, or does not let us in now.

    Unknown errors count as such, so that no record is given up for a server that is not well.
    """
    error = getattr(error, "orig", None) or error  # SQLAlchemy's own, around that of the driver
    number = code(error)
    if number in PASSING_CODES:
        return True
    return not isinstance(error, LASTING) and number not in LASTING_CODES


def code(error: Exception) -> int | None:
    """Return the number that the server, or the driver, gave the error."""
    number = error.args[0] if error.args else None
    return number if isinstance(number, int) else None
