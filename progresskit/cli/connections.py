"""
The connections of `progresskit serve`: uvicorn's, with limits on the memory that a client can occupy.

uvicorn accepts heads of any length from httptools, waits without a limit for the rest of a request, and keeps data that
a client does not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from progresskit.registry import needs_extra
from progresskit.web.http import problem

with needs_extra("progresskit serve", "cli"):
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    from asyncio import BaseProtocol, Transport
    from collections.abc import Iterable
    from typing import Any

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEAD_BYTES = 65_536
"""The longest head of a request, with its trailers; a hundred keys take about a quarter of it."""

HEAD_FIELDS = 100

UNFINISHED_BYTES = 2**26
"""Memory of all incomplete requests together."""

REQUEST_SECONDS = 10.0
"""A request has to be complete so long after its first byte, and the first one after the connection was opened."""

UNREAD_SECONDS = 30.0
"""A connection is cut when its client has read no data for this time, although there is some."""

PIPELINED = 16
"""Requests that may wait for the answer to an earlier one of their connection."""


SWEEP_TICKS = 10
"""Ticks of uvicorn, a tenth of a second each, between two checks of all connections."""


class _Refused(Exception):
    """Raised inside the parser, so that it stops."""


class Unfinished:
    """How many bytes of requests that are not complete the process holds."""

    def __init__(self) -> None:
        self.held = 0


class BoundedProtocol(HttpToolsProtocol):
    """
    One connection of HTTP.

    All that is received is counted but bodies, from the end of one request to that of the next: the parser keeps a
    field, and a part of one, until the head is complete.
    """

    unfinished = Unfinished()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._since: float | None = self.loop.time()
        self._in_message = False
        self._received = self._held = 0
        self._refusal: tuple[int, str] | None = None
        self._answering: RequestResponseCycle | None = None  # where others wait for it

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the buffers, and end the response in progress: uvicorn ends only that to the last request."""
        super().connection_lost(exc)
        self._hold(0)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Accept data, unless it exceeds the limits."""
        if self._since is None:
            self._since = self.loop.time()
        self._received += len(data)
        super().data_received(data)
        if self._in_message:
            self._keep()
        elif self._is_answering():
            self._since = None  # no request has begun: some clients send a line break after one

    def waits_too_long(self, now: float) -> bool:
        """Return whether the client has had its time for a request."""
        return self._since is not None and now - self._since > REQUEST_SECONDS

    def handle_websocket_upgrade(self) -> None:
        """Let the protocol of WebSockets take over."""
        self._in_message = False
        self._hold(0)
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_message = True
        if len(self.pipeline) >= PIPELINED:
            self._refusal = 429, "Too many requests wait for an answer."
            raise _Refused

    def on_headers_complete(self) -> None:
        """Have the request answered, if its head is not too long."""
        # Data before and after the head counts too; so the head itself is measured only where it may be too long.
        if self._received > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if length > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
                self._refusal = _TOO_LONG
                raise _Refused
        before: RequestResponseCycle | None = self.cycle
        super().on_headers_complete()
        if len(self.pipeline) == 1:
            self._answering = before

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, of which uvicorn keeps little."""
        self._received -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting, until more data comes."""
        self._since, self._in_message, self._received = None, False, 0
        self._hold(0)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request, if one waits."""
        self._answering = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Send the reason, unless another response is in progress, and close."""
        self._in_message = False
        if self._is_answering():
            self.transport.close()
        elif self._refusal is None:
            super().send_400_response(msg)
        else:
            self._send_refusal(*self._refusal)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self._answering or self.cycle  # none before the first request
        return cycle is not None and not cycle.response_complete

    def _keep(self) -> None:
        """Keep an incomplete request, or refuse it."""
        if self._received > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            self._refusal = _TOO_LONG
        elif self.unfinished.held - self._held + self._received > UNFINISHED_BYTES:
            self._refusal = 503, "Too many requests are not complete."
        else:
            self._hold(self._received)
            return
        self.send_400_response("")

    def _hold(self, length: int) -> None:
        if length != self._held:
            self.unfinished.held += length - self._held
            self._held = length

    def _send_refusal(self, status: int, detail: str) -> None:
        response = problem(status, detail, Connection="close")
        assert isinstance(response.body, bytes)
        lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
        self.transport.write(STATUS_LINE[status] + "".join([*lines, "\r\n"]).encode("latin-1") + response.body)
        self.transport.close()


_TOO_LONG = 431, f"The head of a request has {HEAD_BYTES:,} bytes and {HEAD_FIELDS} fields at most."


class Sweep:
    """Cuts connections whose clients take too long to send a request or to read a response."""

    def __init__(self) -> None:
        self._unread: dict[Any, tuple[int, float]] = {}

    def sweep(self, connections: Iterable[BaseProtocol], now: float) -> None:
        """Look at all connections of the server, at a time of its loop."""
        unread = {}
        for connection in list(connections):
            transport: Transport = getattr(connection, "transport")  # noqa: B009 - all of uvicorn's have one
            waiting = transport.get_write_buffer_size()
            if waiting:
                before, since = self._unread.get(connection, (0, now))
                unread[connection] = waiting, since if waiting >= before > 0 else now
                if now - unread[connection][1] > UNREAD_SECONDS:
                    transport.abort()
            elif isinstance(connection, BoundedProtocol) and connection.waits_too_long(now):
                transport.close()
        self._unread = unread
