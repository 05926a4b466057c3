"""
psycopg with bounded waiting.

libpq has no limit for how long an answer may take, and a paused server does not even look unreachable: its kernel
confirms each packet. So the waiting, which psycopg does in one method of a connection, is done here.
"""

from __future__ import annotations

import selectors
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ANSWER_SECONDS = 4.0
"""How long the server may take to answer a statement."""

Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def answer(connection: psycopg.Connection[Any], steps: Generator[Any, Any, Any], *_: Any, **__: Any) -> Any:
    """
    Run a generator of psycopg's, which yields the events it waits for, and return its result.

    Raises OperationalError, and closes the connection, when the server takes longer than ANSWER_SECONDS.
    """
    deadline = monotonic() + ANSWER_SECONDS
    try:
        waits_for = next(steps)
        with Selector() as selector:
            selector.register(connection.pgconn.socket, waits_for)
            while ready := selector.select(max(deadline - monotonic(), 0)):
                wanted = steps.send(ready[0][1])
                if wanted != waits_for:
                    waits_for = wanted
                    selector.modify(connection.pgconn.socket, waits_for)
    except StopIteration as end:
        return end.value
    steps.close()
    connection.close()
    raise psycopg.OperationalError(f"the server has not answered for {ANSWER_SECONDS:g} seconds")


class Connection(psycopg.Connection[Any]):
    """A connection of our own."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Wait as `answer` does."""
        return answer(self, gen)


def claim(connection: psycopg.Connection[Any]) -> None:
    """Have each statement of a connection be a transaction of its own, and be waited for as `answer` does."""
    connection.wait = answer.__get__(connection)  # type: ignore[method-assign]
    connection.autocommit = True


@contextmanager
def autocommit(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have a given connection behave as ours do, for a while."""
    before = connection.autocommit
    claim(connection)
    try:
        yield
    finally:
        del connection.wait
        if not connection.closed and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            connection.autocommit = before


@contextmanager
def transaction(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have statements take effect together; each of them sees what was committed before it."""
    connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED", prepare=False)
    try:
        yield
        connection.execute("COMMIT", prepare=False)
    except BaseException:
        if not connection.closed:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK", prepare=False)
        raise


def is_silent(connection: psycopg.Connection[Any]) -> bool:
    """Return True for an idle connection that is open and has no data to read; the server is not asked."""
    if connection.closed or connection.pgconn.transaction_status == TransactionStatus.UNKNOWN:
        return False
    with Selector() as selector:
        selector.register(connection.pgconn.socket, selectors.EVENT_READ)
        return not selector.select(0)
