"""What each database does in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import URL, Engine

    from progresskit.progress import State, Stored, Write


class Dialect(ABC):
    """
    The SQL of one kind of database, and what its driver has to be told.

    Connections are the driver's own, in autocommit mode. A record read is a pair of its id and an opaque row: rows
    that are equal hold the same, so what was made of one before need not be made again.
    """

    shared: bool = True
    """False where other processes see nothing of the database."""

    errors: tuple[type[Exception], ...]
    """What the driver raises."""

    @abstractmethod
    def __init__(self, url: URL, prefix: str, clock: Callable[[], float]) -> None:
        """Check the URL; `clock` (seconds since the epoch) judges leases where the database has no clock of its own."""

    @abstractmethod
    def engine(self) -> Engine:
        """Make an engine for the URL, with all connections in autocommit mode."""

    @abstractmethod
    def borrowed(self, connection: Any) -> AbstractContextManager[None]:
        """Have a connection of somebody else's engine in autocommit mode for a while."""

    @abstractmethod
    def open(self, connection: Any, own: bool) -> Hashable:
        """Get a new connection ready, and the table; return which database it leads to."""

    @abstractmethod
    def leads_home(self, home: Any) -> bool:
        """Say whether a connection that led to that database when it was opened still leads to what is there now."""

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
        """Return what a row holds, and whether the lease has run out; the token may be left out."""

    @abstractmethod
    def cancel(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Mark those that are not done, and return them."""

    @abstractmethod
    def cancels(self, connection: Any, ids: Collection[str]) -> set[str]:
        """Return those that are marked."""

    @abstractmethod
    def list(
        self, connection: Any, kind: str | None, states: Collection[State] | None, limit: int
    ) -> list[tuple[str, Hashable]]:
        """Return the records heard of last, newest first."""

    @abstractmethod
    def sweep(self, connection: Any, limit: int) -> int:
        """Delete records that have expired, at most `limit`, the oldest first; return how many there were."""
