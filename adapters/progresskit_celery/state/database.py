"""The base of the two stores that keep results as rows: they work in threads of their own."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from progresskit.backends.stores import ServerClock, retry_conflicts

from .bounded_executor import BoundedExecutor
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .store import Change, Edit, Meta

SERVER_TIME = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())::float8",
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0",
    "mariadb": "SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0",
}
"""The query for the time of a database; for other databases the host's clock is used."""

CASE_BLIND = frozenset(("mysql", "mariadb", "mssql", "microsoft"))
"""These take two ids that differ in case for the same, unless a table is declared otherwise."""


class Conflict(Exception):
    """Another process has stored the same result first: the transaction is to be repeated."""


class RowStore(Store):
    """A store whose results are rows, locked while they are edited."""

    longest = 155

    def __init__(self, app: Any, clock: Callable[[], float] | None) -> None:
        super().__init__(app, clock)
        self._executor = BoundedExecutor(self._leave)
        self._server_clock = ServerClock(clock)

    @abstractmethod
    def _leave(self) -> None:
        """Close the connections of this thread."""

    @abstractmethod
    def _vendor(self) -> str:
        """Return the name of the kind of database."""

    @abstractmethod
    def _load(self, ids: Collection[str]) -> tuple[dict[str, Meta], float]:
        """Read the rows."""

    @abstractmethod
    def _edit(self, edits: Mapping[str, Edit]) -> None:
        """Do the edits in one transaction; Conflict if another process has made one of the rows meanwhile."""

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
            except Conflict:
                return ids
            return ()

        retry_conflicts(edits, attempt, self)

    def name(self, record: str) -> str:
        """Distinguish ids that differ in capitals only, also where the database does not."""
        if record.islower() or self._vendor() not in CASE_BLIND:
            return record
        from zlib import crc32

        return f"{record}~{crc32(record.encode()):08x}"

    def _time(self, ask: Callable[[str], Any]) -> float:
        query = SERVER_TIME.get(self._vendor())
        if query is None:
            return self._host_time()
        return self._server_clock(lambda: float(ask(query)))

    def _done(self, change: Change) -> datetime:
        """
        Return when the result was done, by which Celery's cleanup decides.

        For a record it is such that the cleanup removes it when it has expired, be its ttl longer than that of
        Celery's results or shorter.
        """
        if change.expires is None:
            return datetime.now(UTC)
        keeps: Any = self._backend.expires
        keeps = keeps if isinstance(keeps, timedelta) else timedelta(seconds=keeps or 0)
        done: datetime = datetime.fromtimestamp(change.expires, UTC) - keeps
        return done

    def __str__(self) -> str:
        return f"the {self._vendor()} database of Celery's results"

    def close(self) -> None:
        """End the threads, which close their connections."""
        self._executor.close()

    def after_fork_in_child(self) -> None:
        """Forget the threads."""
        self._executor.after_fork_in_child()
