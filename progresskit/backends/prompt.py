"""
Calls of servers that speak the protocol of Redis, whose answers are waited for no longer than a given time.

They are made on connections of their own, and by this module: the way through a pool and a client library takes longer
than the call.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from .forking import keep_inherited
from .replies import NOT_YET, parse_replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .replies import Reply

    Word = bytes | str | int

CHUNK_BYTES = 2**16

SHORTEST_SECONDS = 0.001
"""A socket without time left would not wait at all, even for what has arrived."""


class PromptConnection:
    """A connected socket until a deadline, a time of `monotonic`."""

    def __init__(self, socket: Any, deadline: float) -> None:
        self._socket, self._deadline = socket, deadline

    def execute(self, *commands: Sequence[Word]) -> list[Reply]:
        """
        Send commands, and return their replies.

        Raises OSError without them at the deadline, whether the server has received the commands or not, and ErrorReply
        for an error.
        """
        socket, data = self._socket, b""
        self._set_timeout()
        socket.sendall(b"".join(map(_packed, commands)))
        while chunk := socket.recv(CHUNK_BYTES):
            data += chunk
            replies = parse_replies(data, len(commands))
            if replies is not None:
                return replies
            self._set_timeout()
        raise ConnectionError("the server has closed the connection")

    def _set_timeout(self) -> None:
        self._socket.settimeout(max(self._deadline - monotonic(), SHORTEST_SECONDS))


class PromptConnections:
    """Keeps connections from one call to the next; `make` returns one of the client library, not connected yet."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._kept: deque[Any] = deque()

    @contextmanager
    def within(self, seconds: float) -> Iterator[PromptConnection | None]:
        """Give a connection for that long; None where the server has closed the one that was kept."""
        connection = self._kept.pop() if self._kept else self._connected()
        try:
            if _is_closed(connection._sock):
                connection.disconnect()
                yield None
                return
            yield PromptConnection(connection._sock, monotonic() + seconds)
        except BaseException:
            connection.disconnect()  # else its answer would be taken for that to another call
            raise
        self._kept.append(connection)

    def _connected(self) -> Any:
        connection = self._make()
        connection.connect()
        return connection

    def close(self) -> None:
        """Close those that are kept."""
        while self._kept:
            self._kept.pop().disconnect()

    def after_fork_in_child(self) -> None:
        """Forget those of the parent."""
        keep_inherited(self._kept)
        self._kept = deque()


def _is_closed(socket: Any) -> bool:
    """Return whether there is something to read on an idle connection, which can only be its end."""
    socket.settimeout(0)
    try:
        socket.recv(1)
    except NOT_YET:
        return False
    except OSError:
        pass
    return True


def _packed(command: Sequence[Word]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        text = word if type(word) is bytes else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)
