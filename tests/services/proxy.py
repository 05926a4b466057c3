"""A TCP proxy between a client and a server of this machine, whose connections can be cut and refused."""

from __future__ import annotations

import asyncio
import socket
import struct
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

RESET = struct.pack("ii", 1, 0)
"""With this as SO_LINGER, closing a connection resets it: the peer's next call fails at once."""


class Proxy:
    """Passes on what comes to `port` to the server's port, and back, while it accepts connections."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)  # else exit waits for it
        self._listening: asyncio.Server | None = None
        self._ends = set[_End]()
        self._connecting = set[asyncio.Task[None]]()
        self._left: int | None = None
        self._was_cut = Event()

    def cut(self) -> None:
        """Reset all connections now; new ones are accepted."""
        self._call(self._cut)

    def cut_after(self, count: int) -> Event:
        """
        Reset all connections as soon as so many more bytes came from clients, which is in the middle of what they send.

        The event that is returned is set then.
        """

        def arm() -> Event:
            self._left, self._was_cut = count, Event()
            return self._was_cut

        return self._call(arm)

    def refuse(self) -> None:
        """Refuse new connections; those that there are go on."""

        def close() -> None:
            if self._listening is not None:
                self._listening.close()
                self._listening = None

        self._call(close)

    def accept(self) -> None:
        """Accept connections again, on the same port."""

        async def listen() -> None:
            if self._listening is None:
                self._listening = await self._loop.create_server(
                    lambda: _End(self), "127.0.0.1", self.port, reuse_address=True
                )

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._call(lambda: sum(end.is_client for end in self._ends))

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._drain())
        self._loop.close()

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _cut(self) -> None:
        for end in list(self._ends):
            end.reset()

    async def _drain(self) -> None:
        """Wait until nothing is left of the connections that were cut, nor of those that were being made."""
        while self._ends or self._connecting:
            self._cut()
            await asyncio.sleep(0.001)

    # Called by the ends

    def connect(self, end: _End) -> None:
        """Connect a client's end with one at the server."""
        self._ends.add(end)
        task = self._loop.create_task(self._connect(end))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, end: _End) -> None:
        try:
            _, peer = await self._loop.create_connection(lambda: _End(self, end), "127.0.0.1", self._target)
        except OSError:
            end.reset()
        else:
            self._ends.add(peer)
            end.join(peer)

    def passing(self, data: bytes) -> bytes:
        """Return what may pass of a client's data, and have all connections cut where that is not all."""
        if self._left is None:
            return data
        passed = data[: self._left]
        self._left -= len(passed)
        if not self._left:
            self._left = None
            self._loop.call_soon(self._cut)
            self._loop.call_soon(self._was_cut.set)
        return passed

    def gone(self, end: _End) -> None:
        """Forget an end."""
        self._ends.discard(end)


class _End(asyncio.Protocol):
    """One end of a connection through the proxy: at the client (which comes first), or at the server."""

    def __init__(self, proxy: Proxy, peer: _End | None = None) -> None:
        self._proxy, self._peer = proxy, peer
        self.is_client = peer is None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self.is_client:
            self._transport.pause_reading()
            self._proxy.connect(self)

    def join(self, peer: _End) -> None:
        """Begin to hand on."""
        if self._transport.is_closing():
            peer.reset()
        else:
            self._peer = peer
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self._peer is not None
        self._peer.write(self._proxy.passing(data) if self.is_client else data)

    def write(self, data: bytes) -> None:
        """Send what the other end received."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        if self._peer is not None:
            self._peer.pause(True)

    def resume_writing(self) -> None:
        if self._peer is not None:
            self._peer.pause(False)

    def pause(self, paused: bool) -> None:
        """Stop or go on receiving, as the other end can take it."""
        if not self._transport.is_closing():
            self._transport.pause_reading() if paused else self._transport.resume_reading()

    def connection_lost(self, problem: Exception | None) -> None:
        self._proxy.gone(self)
        if self._peer is not None and not self._peer.is_closing:
            self._peer.close()

    @property
    def is_closing(self) -> bool:
        """True once it was closed or reset."""
        return bool(self._transport.is_closing())

    def close(self) -> None:
        """Close it after what is still to be sent."""
        self._transport.close()

    def reset(self) -> None:
        """Reset it now."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()
