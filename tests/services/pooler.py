"""A pooler for PostgreSQL that lends its one session for a transaction, or one each for good, as PgBouncer may."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

VERSION_3 = 196_608
ALLOWED = {b"user", b"database", b"application_name", b"client_encoding"}
"""What a client may say at the start."""


class Pooler:
    """
    Takes clients on `port`; their transactions are done in one session of the server, one after the other.

    As with PgBouncer, a client gets a number that is not the session's, one that wants more set at the start than a
    name is refused unless `takes_options`, and what the server says by itself reaches the client that has the session.
    With `keeps_sessions` a client has one of its own, as in session mode.
    """

    def __init__(
        self, port: int, user: str, database: str, *, takes_options: bool = False, keeps_sessions: bool = False
    ) -> None:
        self._takes_options, self._keeps_sessions = takes_options, keeps_sessions
        self._turn, self._open = Lock(), ExitStack()
        start = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
        self._server, self._start = ("127.0.0.1", port), struct.pack("!ii", len(start) + 8, VERSION_3) + start
        self._session, self._greeting = self._log_in()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        Thread(target=self._accept, name="pooler", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._open.close()

    def _log_in(self) -> tuple[socket.socket, bytes]:
        session = socket.create_connection(self._server)
        self._open.callback(session.close)
        session.sendall(self._start)
        return session, b"".join(message for message in _until_ready(session) if message[:1] in b"RS")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                self._open.callback(client.close)
                Thread(target=self._serve, args=(client,), name="pooler-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if not self._greet(client):
                return
            if self._keeps_sessions:
                session, _ = self._log_in()
                Thread(target=_hand_on, args=(session, client), name="pooler-session", daemon=True).start()
                _hand_on(client, session)
            while not self._keeps_sessions:
                asked = [_message(client)]
                with self._turn:
                    state = b"T"
                    while state != b"I":
                        while asked[-1][:1] not in b"QSX":
                            asked.append(_message(client))
                        if asked[-1][:1] == b"X":
                            return
                        self._session.sendall(b"".join(asked))
                        for answer in _until_ready(self._session):
                            client.sendall(answer)
                        state = answer[-1:]
                        asked = [_message(client)] if state != b"I" else []

    def _greet(self, client: socket.socket) -> bool:
        while True:
            length, version = struct.unpack("!ii", _exactly(client, 8))
            said = _exactly(client, length - 8).split(b"\0")
            if version == VERSION_3:
                break
            client.sendall(b"N")  # no TLS
        strange = [name for name in said[:-2:2] if name not in ALLOWED]
        if strange and not self._takes_options:
            message = b"SFATAL\0C08P01\0Munsupported startup parameter: " + strange[0] + b"\0\0"
            client.sendall(b"E" + struct.pack("!i", len(message) + 4) + message)
            return False
        client.sendall(self._greeting + b"K" + struct.pack("!iii", 12, 1, 1) + b"Z" + struct.pack("!ic", 5, b"I"))
        return True


def _hand_on(source: socket.socket, target: socket.socket) -> None:
    """Send what comes from one to the other, until either ends."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _until_ready(session: socket.socket) -> Iterator[bytes]:
    while True:
        message = _message(session)
        yield message
        if message[:1] == b"Z":
            return


def _message(peer: socket.socket) -> bytes:
    head = _exactly(peer, 5)
    return head + _exactly(peer, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := peer.recv(count - len(data))):
            raise ConnectionError("the other end is gone")
        data += more
    return data
