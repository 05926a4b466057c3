"""What SQLAlchemy does not hide of a database and its driver."""

from __future__ import annotations

import selectors
from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from progresskit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from contextlib import AbstractContextManager

    from .backend import SQLBackend
    from .rows import Changes

EXAMPLES = {
    "sqlite": "sqlite:////absolute/path/progress.db",
    "postgresql": "postgresql+psycopg://user:password@host/database",
    "mysql": "mysql+pymysql://user:password@host/database",
    "mariadb": "mariadb+pymysql://user:password@host/database",
}
"""Examples of the URL of a database."""

Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Driver(ABC):
    """One kind of database, at a URL."""

    names: ClassVar[tuple[str, ...]]
    """How the driver is named in URLs; the last one is documented."""

    errors: ClassVar[tuple[type[Exception], ...]]
    """The errors of the driver."""

    begin: ClassVar[str]
    """The statement that begins a transaction of which each statement sees what was committed before it."""

    before_making: ClassVar[str | None] = None
    """The statement that makes other sessions wait until this transaction has made the tables."""

    time: ClassVar[str]
    """The statement that asks the server for its time, in seconds since the epoch; not used where there is `clock`."""

    clock: Callable[[], float] | None = None

    shared: bool = True
    """False where other processes do not see the database."""

    fork_safe: bool = True
    """False where a connection that is open during a fork does harm, even if the child never touches it."""

    schema: str | None = None
    """The schema of the tables; None for that of the session."""

    def __init__(self, url: sa.URL, prefix: str) -> None:
        if url.drivername not in self.names:
            raise ConfigurationError(f"{url.drivername}:// is another driver's; progresskit needs {self.names[-1]}://")
        self.url = url

    @classmethod
    def pushing(cls, url: sa.URL) -> type[SQLBackend] | None:
        """Return the class of the backend that can push changes at this URL; None where they are polled."""
        return None

    @abstractmethod
    def engine(self) -> sa.Engine:
        """Make an engine for the URL."""

    def make_engine(self, defaults: dict[str, Any], **options: Any) -> sa.Engine:
        """Make one in autocommit mode; `defaults` are arguments of the driver where the URL has no others."""
        arguments = {name: value for name, value in defaults.items() if name not in self.url.query}
        options = {"pool_size": 4, "max_overflow": -1, "pool_reset_on_return": None} | options
        try:
            return sa.create_engine(
                self.url,
                isolation_level="AUTOCOMMIT",
                hide_parameters=True,
                poolclass=sa.QueuePool,
                connect_args=arguments,
                **options,
            )
        except (sa.exc.ArgumentError, TypeError):  # whose text may have a part of the password
            example = EXAMPLES[self.url.get_backend_name()]
            raise ConfigurationError(f"not the URL of a database; one looks like {example}") from None
        except ValueError as error:
            raise ConfigurationError(f"an option of the URL cannot be read: {error}") from None

    def lent(self, connection: Any) -> AbstractContextManager[None]:
        """Have the driver's connection of a given engine behave as ours do for a while, beside autocommit mode."""
        return nullcontext()

    def prepare(self, connection: sa.Connection) -> None:
        """Set up a new connection of our own."""
        return

    @abstractmethod
    def home(self, connection: sa.Connection, own: bool) -> Hashable:
        """Return which database a connection leads to, once the tables are there."""

    def leads_home(self, home: Any) -> bool:
        """Say whether a connection that led to that database when it was opened still leads to the present one."""
        return True

    def socket(self, connection: Any) -> int | None:
        """Return the descriptor of a connection of the driver; None where it is known to be closed."""
        raise NotImplementedError

    def is_broken(self, connection: Any) -> bool:
        """Look, without asking the server, whether an idle connection has something to read, which can be its end."""
        descriptor = self.socket(connection)
        return descriptor is None or is_readable(0, descriptor)

    def missing(self) -> str | None:
        """Return the path of a file that is not there, which connecting would make; None where there is one or none."""
        return None

    @contextmanager
    def transaction(self, connection: sa.Connection) -> Iterator[None]:
        """Have statements take effect together."""
        connection.exec_driver_sql(self.begin)
        try:
            yield
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            with suppress(Exception):  # some errors have ended it already, or the connection
                connection.exec_driver_sql("ROLLBACK")
            raise

    def stored(self, connection: sa.Connection, changes: Changes) -> None:
        """Do the rest of a transaction that has stored these changes."""
        return

    @abstractmethod
    def passes(self, error: BaseException) -> bool:
        """
        Say whether an error of the driver means that the same may succeed later.

        Unknown errors of a server count as such, so that no record is given up for one that is not well.
        """

    def is_conflict(self, error: BaseException) -> bool:
        """Say whether another session was in the way, so that the same succeeds if it is tried again at once."""
        return False


def is_readable(seconds: float, *descriptors: int) -> bool:
    """Wait until one of the descriptors is readable; return whether that was so."""
    with Selector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(seconds))
