"""
Calls of servers that speak the protocol of Redis, with a limit on the time for which an answer is waited for.

They are made on connections of their own, and by this module: the way through a pool and a client library takes longer
than the call.
"""

from __future__ import annotations

import select
import sys
from collections import deque
from hashlib import sha1
from math import ceil
from socket import IPPROTO_TCP
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from .forking import keep_inherited
from .replies import NOT_YET, ErrorReply, parse_replies

if sys.platform == "linux":
    from socket import TCP_INFO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .replies import Reply

    Word = bytes | str | int
    Wait = Callable[[float | None], object]

CHUNK_BYTES = 2**16

ESTABLISHED = b"\x01"
"""How Linux describes a TCP connection that neither side has closed, in the first byte of TCP_INFO."""

SHORTEST_SECONDS = 0.001
"""A call without time left would not wait at all, even for an answer that has arrived."""


class Script(NamedTuple):
    """A text of Lua, and the hash that the server knows it by once it has seen it."""

    text: bytes
    sha: bytes

    @classmethod
    def of(cls, text: bytes) -> Self:
        """Return the script with this text."""
        return cls(text, sha1(text, usedforsecurity=False).hexdigest().encode())


class PromptConnection:
    """
    A connection of the client library, connected here, of which only the socket is used, without blocking.

    Each call of the system gives other threads a turn, after which this one waits for its own: a socket with a timeout
    would make twice as many. To connect takes `seconds` for each answer at most, which a server that hangs never gives.
    """

    def __init__(self, connection: Any, seconds: float | None) -> None:
        self._seconds: float | None = connection.socket_timeout
        if seconds is not None:
            for name in ("socket_timeout", "socket_connect_timeout"):
                setattr(connection, name, min(getattr(connection, name, None) or seconds, seconds))
        connection.connect()
        self._connection, self._socket = connection, connection._sock
        self._socket.settimeout(0)
        self._wait = _wait_on(self._socket)
        self._may_have_ended = _end_of(self._socket, self._wait)
        self._deadline: float | None = None
        self._data = b""  # the part of the replies that has arrived

    def begin(self, seconds: float | None) -> bool:
        """
        Set the deadline of the next call, for None that of any call of the client library.

        Returns False where the server has closed the connection.
        """
        if self._may_have_ended() and self._is_closed():
            return False
        seconds = self._seconds if seconds is None else seconds
        self._deadline = None if seconds is None else monotonic() + seconds
        return True

    def _is_closed(self) -> bool:
        """Return whether there is something to read on the idle connection, which can only be its end."""
        try:
            self._socket.recv(1)
        except NOT_YET:
            return False  # it was TLS's own
        except OSError:
            pass
        return True

    def execute(self, *commands: Sequence[Word]) -> list[Reply]:
        """
        Send commands, and return their replies.

        Raises OSError without them at the deadline, whether the server has received the commands or not, and ErrorReply
        for an error.
        """
        return self.exchange(b"".join(map(packed, commands)), len(commands))

    def exchange(self, commands: bytes, count: int) -> list[Reply]:
        """Send `count` commands that are packed already, and return their replies, as `execute` does."""
        if rest := self._unsent(memoryview(commands)):  # the server reads more slowly than this
            self._socket.settimeout(self._left())
            self._socket.sendall(rest)
            self._socket.settimeout(0)
        # Maybe there is a reply already: sending gives other threads a turn.
        while (replies := self._received(count)) is None:
            self._wait_readable()
        return replies

    async def aexecute(self, *commands: Sequence[Word]) -> list[Reply]:
        """Send commands as `execute` does, without blocking the running event loop."""
        return await self.aexchange(b"".join(map(packed, commands)), len(commands))

    async def aexchange(self, commands: bytes, count: int) -> list[Reply]:
        """Send packed commands as `exchange` does, without blocking the running event loop."""
        from .readiness import readable, writable

        descriptor = self._socket.fileno()
        rest = memoryview(commands)
        while rest := self._unsent(rest):
            await writable(descriptor, self._left())
        while (replies := self._received(count)) is None:
            await readable(descriptor, self._left())
        return replies

    def _unsent(self, data: memoryview) -> memoryview:
        """Send as much as fits in the buffers of the socket, and return the rest."""
        try:
            return data[self._socket.send(data) :]
        except NOT_YET:
            return data

    def _received(self, count: int) -> list[Reply] | None:
        """Read the data that has arrived; return so many replies, None while they are incomplete."""
        while True:
            try:
                chunk = self._socket.recv(CHUNK_BYTES)
            except NOT_YET:
                return None
            if not chunk:
                raise ConnectionError("the server has closed the connection")
            self._data += chunk
            replies = parse_replies(self._data, count)
            if replies is not None:
                self._data = b""
                return _checked(replies)

    def _wait_readable(self) -> None:
        if not self._wait(self._left()):
            raise TimeoutError("the server has not replied in time")

    def _left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - monotonic(), SHORTEST_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


class PromptConnections:
    """Keeps connections from one call to the next; `make` returns one of the client library, not connected yet."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None
        self._kept: deque[PromptConnection] = deque()

    def within(self, seconds: float) -> _Use:
        """Give a connection for that long; None where the server has closed the one that was kept."""
        return _Use(self._kept, self._taken() or self._connected(seconds), seconds)

    def kept(self) -> _Use:
        """
        Give a connection that is kept, for as long as the client library waits for a call.

        Gives None where there is none, and makes one for the next call.
        """
        connection = self._taken()
        if connection is None:
            self._kept.append(self._connected())
        return _Use(self._kept, connection, None)

    def awaited(self, seconds: float) -> _Use:
        """Give a connection that is kept, for that long, to the running event loop; None where that would block it."""
        from .readiness import is_known

        return _Use(self._kept, self._taken() if is_known() else None, seconds)

    def _taken(self) -> PromptConnection | None:
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _connected(self, seconds: float | None = None) -> PromptConnection:
        made, self._made = self._made, None
        return PromptConnection(made or self._make(), seconds)

    def close(self) -> None:
        """Close those that are kept."""
        while self._kept:
            self._kept.pop().close()

    def after_fork_in_child(self) -> None:
        """Forget those of the parent."""
        keep_inherited(self._kept)
        self._kept = deque()


class _Use:
    """One use of a connection, as a context: a generator would take longer than the rest of it."""

    __slots__ = ("_connection", "_kept", "_seconds")

    def __init__(
        self, kept: deque[PromptConnection], connection: PromptConnection | None, seconds: float | None
    ) -> None:
        self._kept, self._connection, self._seconds = kept, connection, seconds

    def __enter__(self) -> PromptConnection | None:
        connection = self._connection
        if connection is not None and not connection.begin(self._seconds):
            connection.close()
            self._connection = None
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        connection = self._connection
        if connection is None:
            return
        if error is None:
            self._kept.append(connection)
        else:
            connection.close()  # else its answer would be taken for that to another call


def _checked(replies: list[Reply | ErrorReply]) -> list[Reply]:
    """Return the replies; raise the first error among them, now that none is left unread."""
    for reply in replies:
        if isinstance(reply, ErrorReply):
            raise reply
    return cast("list[Reply]", replies)


def _wait_on(socket: Any) -> Wait:
    """Return a function that waits for that many seconds until there is something to read; without a limit for None."""
    if not hasattr(select, "poll"):  # on Windows, and where eventlet has replaced the module's functions
        return lambda seconds: select.select([socket], [], [], seconds)[0]
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return lambda seconds: poll.poll(None if seconds is None else ceil(seconds * 1000))


def _end_of(socket: Any, wait: Wait) -> Callable[[], object]:
    """Return a function that returns whether the server may have closed a connection."""
    if sys.platform != "linux":
        return lambda: wait(0)
    try:
        socket.getsockopt(IPPROTO_TCP, TCP_INFO, 1)
    except OSError:  # of another kind
        return lambda: wait(0)
    # Unlike a call that could wait, `getsockopt` gives no other thread a turn.
    return lambda: socket.getsockopt(IPPROTO_TCP, TCP_INFO, 1) != ESTABLISHED


def packed(command: Sequence[Word], more: int = 0) -> bytes:
    """Return a command as it is sent, but for so many words of it that follow."""
    return b"*%d\r\n%b" % (len(command) + more, packed_words(command))


def packed_words(words: Sequence[Word]) -> bytes:
    """Return words of a command as they are sent."""
    texts = [word if type(word) is bytes else str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])
