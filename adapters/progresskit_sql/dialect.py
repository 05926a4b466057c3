"""The interface of a kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Hashable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.progress import State, Stored, Write

    from .backend import SQLBackend


EXAMPLES = {
    "sqlite": "sqlite:////absolute/path/progress.db",
    "postgresql": "postgresql+psycopg://user:password@host/database",
    "mysql": "mysql+pymysql://user:password@host/database",
    "mariadb": "mariadb+pymysql://user:password@host/database",
}
"""Examples of the URL of a database."""


class Dialect(ABC):
    """
    The SQL of one kind of database, and how its driver is set.

    Connections are the driver's own, in autocommit mode. A record read is a pair of its id and an opaque row: rows
    that are equal hold the same, so that a record decoded before need not be decoded again.
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

    @abstractmethod
    def write(self, connection: Any, batch: Sequence[Write]) -> dict[str, int]:
        """Fold the batch in; return the run that is stored, for the ids of all starts."""

    @abstractmethod
    def read(self, connection: Any, ids: Collection[str]) -> list[tuple[str, Hashable]]:
        """Return the records that there are of those ids."""

    @abstractmethod
    def unpack(self, row: Any) -> tuple[Stored, bool]:
        """Return the contents of a row, and whether the lease has run out; the token may be left out."""

    @abstractmethod
    def request_cancel(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Mark those that are not done, and return them."""

    @abstractmethod
    def cancel_requested(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""

    @abstractmethod
    def forget(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Delete those that are done or stalled, and return them."""

    @abstractmethod
    def list(
        self, connection: Any, kind: str | None, states: Collection[State] | None, limit: int
    ) -> list[tuple[str, Hashable]]:
        """Return the records heard of last, newest first."""

    @abstractmethod
    def sweep(self, connection: Any, limit: int) -> int:
        """Delete records that have expired, at most `limit`, the oldest first; return how many there were."""
