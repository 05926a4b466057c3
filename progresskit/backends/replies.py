"""
Reads the replies of a server that speaks the protocol of Redis, version 2, on a connection that is subscribed.

A subscription receives messages by the thousand. Reading many at a time takes a fifth of the time that the client
libraries need, which parse each part of a message by itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

    Reply = list["Reply"] | bytes | int | None

CHUNK_BYTES = 2**16
BATCH_BYTES = 2**19
"""How much is read before the messages are passed on: of each channel, only the last of them."""

_MESSAGE = re.compile(rb"\*3\r\n\$[78]\r\ns?message\r\n\$(\d+)\r\n([^\r]*)\r\n\$(\d+)\r\n")

NOT_YET: tuple[type[OSError], ...] = (BlockingIOError,)
try:
    from ssl import SSLWantReadError, SSLWantWriteError
except ImportError:  # a Python without TLS
    pass
else:
    NOT_YET += (SSLWantReadError, SSLWantWriteError)


class ErrorReply(Exception):
    """An error that the server has replied; its text begins with a code."""

    @property
    def is_unknown_script(self) -> bool:
        """True where the server does not know the script of a hash."""
        return str(self).startswith("NOSCRIPT")


class ReplyReader:
    """Reads from a connected socket, whose timeout applies to other uses of it."""

    def __init__(self, socket: socket) -> None:
        self._socket = socket
        self._rest = b""  # the beginning of an incomplete reply

    def read(self, messages: dict[bytes, bytes]) -> tuple[list[Reply], bool]:
        """
        Read the replies that have arrived; return the others than messages, and whether more may have arrived.

        Messages are put into `messages`, by channel, in place of older ones. Raises ErrorReply for an error, OSError
        for a connection that was closed.
        """
        chunks = self._receive()
        data = self._rest + b"".join(chunks)
        others, end = parse(data, messages) if chunks else ([], 0)
        self._rest = data[end:]
        return others, sum(map(len, chunks)) >= BATCH_BYTES

    def _receive(self) -> list[bytes]:
        """Return what has arrived, about BATCH_BYTES at most, in chunks."""
        chunks, missing = list[bytes](), BATCH_BYTES
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            while missing > 0 and (chunk := self._socket.recv(CHUNK_BYTES)):
                chunks.append(chunk)
                missing -= len(chunk)
        except NOT_YET:
            return chunks
        finally:
            self._socket.settimeout(timeout)
        if not chunks:
            raise ConnectionError("the server has closed the connection")
        return chunks


def parse(data: bytes, messages: dict[bytes, bytes]) -> tuple[list[Reply], int]:
    """Put the messages into `messages`; return the other replies, and where the first incomplete one begins."""
    others: list[Reply] = []
    position = 0
    while True:
        found = _MESSAGE.match(data, position)
        if found is not None and len(found[2]) == int(found[1]):
            begin = found.end()
            end = begin + int(found[3])
            if end + 2 > len(data):
                return others, position
            messages[found[2]] = data[begin:end]
            position = end + 2
            continue
        try:
            reply, position = _reply(data, position)
        except _Incomplete:
            return others, position
        others.append(reply)


def parse_replies(data: bytes, count: int) -> list[Reply | ErrorReply] | None:
    """Return so many replies, which are no messages, errors among them; None where the last has not arrived."""
    replies: list[Reply | ErrorReply] = []
    position = 0
    try:
        for _ in range(count):
            try:
                reply, position = _reply(data, position)
                replies.append(reply)
            except ErrorReply as error:
                replies.append(error)
                position = data.index(b"\r\n", position) + 2
    except _Incomplete:
        return None
    return replies


class _Incomplete(Exception):
    """The rest of a reply has not arrived."""


def _reply(data: bytes, position: int) -> tuple[Reply, int]:
    """Return the reply that begins at a position, and where the next one begins."""
    end = data.find(b"\r\n", position)
    if end < 0:
        raise _Incomplete
    kind, line, position = data[position : position + 1], data[position + 1 : end], end + 2
    match kind:
        case b"*":
            items: list[Reply] = []
            for _ in range(int(line)):
                item, position = _reply(data, position)
                items.append(item)
            return items, position
        case b"$" if line == b"-1":
            return None, position
        case b"$":
            end = position + int(line)
            if end + 2 > len(data):
                raise _Incomplete
            return data[position:end], end + 2
        case b":":
            return int(line), position
        case b"+":
            return line, position
        case b"-":
            raise ErrorReply(line.decode(errors="replace"))
    raise ConnectionError(f"not a reply of the protocol: {data[position : position + 20]!r}")
