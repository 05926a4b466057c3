"""
Waiting for PostgreSQL, with an end.

libpq has no limit for how long an answer may take, and a paused server does not even look unreachable: its kernel
confirms each packet. So the waiting, which psycopg does in one method of a connection, is done here.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from .driver import Selector

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ANSWER_SECONDS = 4.0
"""How long the server may take to answer a statement."""


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
    finally:
        with suppress(psycopg.Error):  # of a connection that is lost, a pipeline cannot be ended
            steps.close()
    connection.close()
    raise psycopg.OperationalError(f"the server has not answered for {ANSWER_SECONDS:g} seconds")


class WaitingConnection(psycopg.Connection[Any]):
    """A connection of our own."""

    wait = answer  # type: ignore[assignment]


@contextmanager
def bounded(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have answers to a given connection waited for as `answer` does, for a while."""
    connection.wait = answer.__get__(connection)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del connection.wait
