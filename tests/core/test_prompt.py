"""Calls of a server on connections that are kept, whose answers are waited for no longer than a given time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from threading import Thread

import pytest

from progresskit.backends.prompt import PromptConnections

LARGE = b"x" * 2**23
"""More than the buffers of a socket hold."""

PATIENCE = 60

Pair = Callable[[], tuple[socket.socket, socket.socket]]


class Connection:
    """A connection of a client library to a server that is the other end of a pair of sockets."""

    socket_timeout = socket_connect_timeout = PATIENCE

    def __init__(self, peers: list[socket.socket], pair: Pair) -> None:
        self._peers, self._pair = peers, pair

    def connect(self) -> None:
        self._sock, peer = self._pair()
        peer.settimeout(PATIENCE)
        self._peers.append(peer)

    def disconnect(self) -> None:
        self._sock.close()


@pytest.fixture
def peers() -> Iterator[list[socket.socket]]:
    """The server's ends of the connections, in the order in which they were made."""
    peers = list[socket.socket]()
    yield peers
    for peer in peers:
        peer.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname(), PATIENCE)
        return one, server.accept()[0]


@pytest.fixture(params=[socket.socketpair, tcp_pair])
def connections(peers: list[socket.socket], request: pytest.FixtureRequest) -> Iterator[PromptConnections]:
    connections = PromptConnections(lambda: Connection(peers, request.param))
    yield connections
    connections.close()


def serve(peer: socket.socket, size: int, *replies: bytes) -> None:
    while size:
        size -= len(peer.recv(min(size, 2**16)))
    for reply in replies:
        peer.sendall(reply)


def test_a_large_command_to_a_slow_server_is_sent_whole(
    connections: PromptConnections, peers: list[socket.socket]
) -> None:
    with connections.kept() as connection:
        assert connection is None, "there was none yet"
    whole = b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(LARGE), LARGE)
    server = Thread(target=serve, args=(peers[0], len(whole), b"$4\r\nd", b"one\r\n"))
    server.start()
    with connections.kept() as connection:
        assert connection is not None
        assert connection.execute((b"SET", LARGE)) == [b"done"]
    server.join(PATIENCE)
    assert len(peers) == 1


def test_a_connection_is_dropped_whose_reply_was_given_up(
    connections: PromptConnections, peers: list[socket.socket]
) -> None:
    with pytest.raises(TimeoutError), connections.within(0.01) as connection:
        assert connection is not None
        connection.execute(("GET", "late"))
    with connections.within(PATIENCE) as connection:
        assert connection is not None
        peers[1].sendall(b":1\r\n:2\r\n")
        assert connection.execute(("GET", "one"), ("GET", "two")) == [1, 2]


def test_no_call_is_made_on_a_connection_that_the_server_has_closed(
    connections: PromptConnections, peers: list[socket.socket]
) -> None:
    with connections.within(PATIENCE) as connection:
        assert connection is not None
    peers[0].close()
    with connections.kept() as connection:
        assert connection is None
    with connections.kept() as connection:
        assert connection is None, "it was made for the next call"
    with connections.kept() as connection:
        assert connection is not None


# In event loops.


async def test_a_loop_does_other_work_while_a_slow_server_reads_and_replies(
    connections: PromptConnections, peers: list[socket.socket]
) -> None:
    with connections.kept():  # makes one for the next call
        pass
    whole = b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(LARGE), LARGE)

    async def call() -> object:
        with connections.awaited(PATIENCE) as connection:
            assert connection is not None
            return await connection.aexecute((b"SET", LARGE))

    called = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert not called.done()
    await asyncio.to_thread(serve, peers[0], len(whole), b"$4\r\nd")
    assert not called.done()
    peers[0].sendall(b"one\r\n")
    assert await called == [b"done"]
    with connections.kept() as connection:
        assert connection is not None, "it is kept for the next call"
    assert len(peers) == 1


async def test_a_loop_gives_up_a_reply_in_time_and_when_the_task_is_cancelled(
    connections: PromptConnections, peers: list[socket.socket]
) -> None:
    async def call(seconds: float) -> None:
        with connections.awaited(seconds) as connection:
            assert connection is not None
            await connection.aexecute(("GET", "late"))

    for seconds, error in ((0.01, TimeoutError), (PATIENCE, asyncio.CancelledError)):
        with connections.kept():
            pass
        called = asyncio.create_task(call(seconds))
        await asyncio.sleep(0)
        if error is asyncio.CancelledError:
            called.cancel()
        with pytest.raises(error):
            await called
        with connections.awaited(PATIENCE) as connection:
            assert connection is None, "that one is not kept"
    assert all(peer.recv(100) and peer.recv(100) == b"" for peer in peers), "they were closed"


def test_a_loop_that_cannot_wait_for_sockets_is_given_no_connection(connections: PromptConnections) -> None:
    class Loop(asyncio.SelectorEventLoop):
        add_reader = asyncio.AbstractEventLoop.add_reader  # as Windows' own

    async def is_given() -> bool:
        with connections.awaited(PATIENCE) as connection:
            return connection is not None

    with connections.kept():
        pass
    for factory, given in ((Loop, False), (asyncio.SelectorEventLoop, True)):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(is_given()) is given
