"""Which errors of the server and of psycopg pass."""

from __future__ import annotations

from psycopg import DataError, IntegrityError, NotSupportedError, ProgrammingError

LASTING = (DataError, IntegrityError, NotSupportedError, ProgrammingError, UnicodeError, OverflowError)
"""Errors of a record, or of the statement: sent again, it fails again."""

PASSING_STATES = frozenset(
    (
        "3D000",  # there is no such database
        "3F000",  # or schema
        "42P01",  # or table: the next call makes it
        "42501",  # a right is missing
    )
)
"""Codes that psycopg has in these classes, but the next call helps, or a change at the server."""

CONFLICTS = frozenset(
    (
        "23505",  # another session has inserted the row
        "40001",  # or changed it, where a given engine asks for more isolation than we do
        "40P01",  # a deadlock
    )
)


def is_conflict(error: Exception) -> bool:
    """Say whether another session was in the way."""
    return getattr(error, "sqlstate", None) in CONFLICTS


def unavailable(error: Exception) -> bool:
    """
    Say whether the same may succeed later: the server is away, full, busy, read-only, or does not let us in now.

    Unknown errors count as such, so that no record is given up for a server that is not well.
    """
    error = getattr(error, "orig", None) or error  # SQLAlchemy's own, around that of the driver
    return not isinstance(error, LASTING) or getattr(error, "sqlstate", None) in PASSING_STATES
