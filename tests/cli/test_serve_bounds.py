"""What a stranger can make `progresskit serve` hold, in bytes and seconds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from progresskit.cli import connections
from progresskit.cli.connections import HEAD_BYTES, HEAD_FIELDS, PIPELINED, BoundedProtocol
from progresskit.cli.serve import server
from progresskit.kit import Kit
from progresskit.web.limiter import PROCESS_LIMITER
from tests.contract.clients import eventually, streaming
from tests.contract.shims import _served
from tests.services.waiting import PATIENCE

HEAD = b"GET /progress/a/ HTTP/1.1\r\nHost: localhost\r\n"
STREAM = HEAD.replace(b"/a/", b"/a/events/")


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", allow_anonymous=True, interval=0.01, flush_seconds=PATIENCE)
    yield kit
    kit.close()


@pytest.fixture
def address(kit: Kit) -> Iterator[str]:
    with _served(server(kit, "/progress")) as address:
        yield address
    assert BoundedProtocol.unfinished.held == 0


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the server closes."""
    read = b""
    try:
        while data := connection.recv(65_536):
            read += data
    except ConnectionResetError:
        pass  # it closes without having read all that was sent
    return read


def answer(connection: socket.socket, request: bytes) -> bytes:
    """Send, and return what is answered until the server closes."""
    try:
        connection.sendall(request)
    except ConnectionError:
        pass  # it was closed before all was sent
    return read_all(connection)


TOO_LONG = {
    "a field": HEAD + b"X-Long: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
    "a field without an end": HEAD + b"X-Long: " + b"x" * 1_000_000,
    "an address": b"GET /progress/" + b"x" * HEAD_BYTES + b"/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address without an end": b"GET /progress/" + b"x" * 1_000_000,
    "fields": HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(HEAD_FIELDS)) + b"\r\n",
    "fields without an end": HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(HEAD_FIELDS + 1)),
    "a name": HEAD + b"x" * 1_000_000,
}


@pytest.mark.parametrize("request_", TOO_LONG.values(), ids=TOO_LONG)
def test_a_head_that_is_too_long_is_refused_before_it_is_complete(address: str, request_: bytes) -> None:
    with connected(address) as connection:
        answered = answer(connection, request_)
    # What the server has not read resets the connection, and may take the answer along.
    assert answered.startswith(b"HTTP/1.1 431 ") or (not answered and len(request_) > 3 * HEAD_BYTES)
    if answered:
        head, _, body = answered.partition(b"\r\n\r\n")
        assert b"application/problem+json" in head.lower()
        assert b'"status": 431' in body


def test_a_request_with_a_hundred_keys_is_not_too_long(address: str, kit: Kit) -> None:
    with kit.observe("a"):
        keys = [f"{number:03}" + "x" * 125 for number in range(99)]
        answer = httpx.get(f"{address}/progress/", params={"key": ["a", *keys]}, timeout=PATIENCE, trust_env=False)
        assert answer.status_code == 200
        assert len(answer.json()["jobs"]) == 100


def test_the_fields_behind_a_body_are_of_its_head(address: str) -> None:
    head = b"POST /progress/a/cancel/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with connected(address) as connection:
        connection.sendall(head)
        assert eventually(lambda: BoundedProtocol.unfinished.held > 0)
        answer(connection, b"".join(b"X-%d: x\r\n" % number for number in range(10_000)))
    assert eventually(lambda: BoundedProtocol.unfinished.held == 0)


def test_all_requests_that_are_not_complete_have_a_bound_together(
    address: str, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNFINISHED_BYTES", 100_000)
    half = HEAD + b"X-Long: " + b"x" * 60_000
    with kit.observe("a"), connected(address) as first, connected(address) as second:
        kit.flush()
        first.sendall(half)
        assert eventually(lambda: BoundedProtocol.unfinished.held == len(half))
        assert answer(second, half).startswith(b"HTTP/1.1 503 ")
        assert httpx.get(f"{address}/progress/a/", timeout=PATIENCE, trust_env=False).status_code == 200
        assert answer(first, b"\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_long_body_is_not_kept(address: str, kit: Kit) -> None:
    with kit.observe("a"), connected(address) as connection:
        kit.flush()
        connection.sendall(HEAD + b"Content-Length: 10000000\r\nConnection: close\r\n\r\n")
        assert answer(connection, b"x" * 10_000_000).startswith(b"HTTP/1.1 200 ")


def test_requests_that_wait_for_an_earlier_answer_are_few(address: str) -> None:
    with connected(address) as connection:
        connection.sendall(STREAM + b"\r\n")
        assert eventually(lambda: PROCESS_LIMITER.acquired == 1)
        answer(connection, (HEAD + b"\r\n") * (PIPELINED + 2))
    assert eventually(lambda: PROCESS_LIMITER.acquired == 0)


def test_a_reader_who_leaves_while_requests_wait_gives_the_place_back(address: str) -> None:
    with connected(address) as connection:
        connection.sendall(STREAM + b"\r\n" + HEAD + b"\r\n" + HEAD + b"\r\n")
        assert eventually(lambda: PROCESS_LIMITER.acquired == 1)
    assert eventually(lambda: PROCESS_LIMITER.acquired == 0)


def test_requests_that_wait_are_answered_in_turn(address: str, kit: Kit) -> None:
    with kit.observe("a"), connected(address) as connection:
        kit.flush()
        last = HEAD + b"Connection: close\r\n\r\n"
        assert answer(connection, (HEAD + b"\r\n") * PIPELINED + last).count(b"HTTP/1.1 200 ") == PIPELINED + 1


HALF = {
    "nothing": b"",
    "line breaks": b"\r\n",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 5\r\n\r\nx",
    "half of a second request": HEAD + b"\r\n" + HEAD,
}


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
def test_a_request_has_to_be_complete_in_time(
    address: str, kit: Kit, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    with kit.observe("a") as observer, ExitStack() as stack:
        kit.flush()
        client = stack.enter_context(httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False))
        events = stack.enter_context(streaming(client, "/progress/a/events/"))
        broken, stream = stack.enter_context(connected(address)), stack.enter_context(connected(address))
        stream.sendall(STREAM + b"\r\n\r\n")  # with a line break that nothing follows
        assert events.job()["id"] == "a"
        broken.sendall(sent)
        read_all(broken)  # it is closed
        observer.succeed()
        assert events.job()["state"] == "succeeded", "a request that is complete goes on"
        last = b"data: "
        while b"succeeded" not in last:
            last = stream.recv(65_536)
            assert last, "so does one with a line break behind it"


def test_a_connection_that_is_kept_is_closed_by_and_by(address: str, kit: Kit) -> None:
    with kit.observe("a"), connected(address) as connection:
        kit.flush()
        assert answer(connection, HEAD + b"\r\n").startswith(b"HTTP/1.1 200 ")


@contextmanager
def unread(address: str, path: str = "/progress/a/events/") -> Iterator[socket.socket]:
    """Open a stream whose client reads nothing, with as few buffers on its way as can be."""
    url = httpx.URL(address)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.settimeout(PATIENCE)
        reader.connect((url.host, url.port))
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield reader


def test_who_reads_nothing_is_cut_off_after_some_time(address: str, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.5)
    client = httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False)
    with kit.observe("a") as observer, client, streaming(client, "/progress/a/events/") as events, unread(address):
        assert eventually(lambda: PROCESS_LIMITER.acquired == 2)
        number = 0
        while PROCESS_LIMITER.acquired == 2:  # until all buffers are full, and the time is up
            number += 1
            assert number < 100_000
            observer.update(meta={"number": number, "filling": "x" * 8_000})
            while events.job()["meta"].get("number", 0) < number:
                pass
        assert number > 100, "it was not cut off for being slow"
    assert eventually(lambda: PROCESS_LIMITER.acquired == 0)


def test_who_reads_slowly_is_not_cut_off() -> None:
    class Transport:
        waiting, aborted = 0, False

        def get_write_buffer_size(self) -> int:
            return self.waiting

        def abort(self) -> None:
            self.aborted = True

    class Connection(asyncio.Protocol):
        transport = Transport()

    sweep, connection = connections.Sweep(), Connection()
    transport = connection.transport
    for second in range(181):  # it takes a thousand bytes each 20 seconds
        transport.waiting = 50_000 - second // 20 * 1_000
        sweep.sweep([connection], second)
    assert not transport.aborted
    sweep.sweep([connection], 180 + connections.UNREAD_SECONDS)
    assert not transport.aborted
    sweep.sweep([connection], 181 + connections.UNREAD_SECONDS)
    assert transport.aborted
