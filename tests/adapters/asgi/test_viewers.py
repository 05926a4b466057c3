"""What the ASGI application holds of its viewers: of those who do not read, and of those who ask too much."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from progresskit.cli.serve import server
from progresskit.kit import Kit
from progresskit.web import Surface, context
from progresskit.web.limiter import PROCESS_LIMITER
from progresskit_asgi import ProgressApp, fanout, sockets
from progresskit_asgi.sockets import FRAME_BYTES, MOST_NAMES, SocketConnection
from tests.contract.clients import eventually, sent_events, streaming
from tests.contract.shims import _served
from tests.services.waiting import PATIENCE

SECRET = "a secret key that is long enough"


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", secret_key=SECRET, allow_anonymous=True, interval=0.01, flush_seconds=PATIENCE)
    yield kit
    kit.close()


@contextmanager
def serving(app: Any, http: str = "httptools") -> Iterator[str]:
    import uvicorn

    config = uvicorn.Config(
        app, lifespan="off", log_level="critical", timeout_graceful_shutdown=1, http=http, ws="websockets-sansio"
    )
    with _served(uvicorn.Server(config)) as address:
        yield address


@pytest.fixture
def address(kit: Kit) -> Iterator[str]:
    with serving(ProgressApp(kit=kit)) as address:
        yield address


def opened(address: str) -> ClientConnection:
    url = f"{address.replace('http', 'ws')}/progress/ws/"
    return connect(url, proxy=None, open_timeout=PATIENCE, ping_interval=None)  # a busy machine may be late with a pong


def say(socket: ClientConnection, **what: list[str]) -> None:
    socket.send(json.dumps(what))


def received(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(PATIENCE))


def code(socket: ClientConnection) -> int:
    """Return the code that the server closes with."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.recv(PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


# Those who do not read


async def through(message: Any, send: Any) -> None:
    await send(message)


def behind_middleware(app: Any) -> Any:
    """Wrap what is sent, so that it is not uvicorn's own."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, lambda message: through(message, send))

    return wrapped


@pytest.mark.parametrize(
    ("http", "wrapped"), [("httptools", False), ("h11", True)], ids=["stepped", "behind middleware"]
)
def test_who_does_not_read_keeps_nothing_but_the_newest_waiting(kit: Kit, http: str, wrapped: bool) -> None:
    app: Any = ProgressApp(kit=kit)
    with serving(behind_middleware(app) if wrapped else app, http) as address, kit.observe("a") as job:
        url = httpx.URL(address)
        with socket.socket() as reader:
            reader.settimeout(PATIENCE)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            reader.connect((url.host, url.port))
            reader.sendall(b"GET /progress/a/events/ HTTP/1.1\r\nHost: site\r\n\r\n")
            # More than all buffers between the two hold. Whoever comes last has seen each of them told.
            client = httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False)
            with client, streaming(client, "/progress/a/events/") as events:
                for number in range(1, 900):
                    job.update(meta={"number": number, "filling": "x" * 8_000})  # one value, so one record at most
                    while events.job()["meta"].get("number", 0) < number:
                        pass
            numbers, size = [-1], 0
            with reader.makefile("rb") as answer:
                while numbers[-1] != 899:
                    line = answer.readline()
                    size += len(line)
                    numbers += [json.loads(line[6:])["meta"].get("number", 0)] if line.startswith(b"data: ") else []
        assert numbers == sorted(set(numbers))
        assert size < 750 * 8_000  # four megabytes are what Linux keeps for a connection


def test_a_socket_that_does_not_read_gets_the_newest_too(kit: Kit, address: str) -> None:
    with kit.observe("a") as job, opened(address) as page:
        say(page, watch=["a"])
        received(page)
        for number in range(200):
            job.set_progress(number)
            kit.flush()
        job.succeed()
        numbers: list[str] = []
        while not numbers or numbers[-1] != "succeeded":
            numbers.append(received(page)["job"]["state"])
        assert len(numbers) <= 202


# Keys that expire


@pytest.fixture
def expire(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give a function that lets as much time pass as a key for 60 seconds is good for, as the application sees it."""

    def later() -> None:
        for module, name in ((context, "time"), (sockets, "time"), (fanout, "monotonic")):
            clock: Callable[[], float] = getattr(module, name)
            monkeypatch.setattr(module, name, lambda clock=clock: clock() + 60)

    return later


def test_a_stream_ends_when_its_key_expires(kit: Kit, address: str, expire: Callable[[], None]) -> None:
    key = Surface(kit).sign("a", ttl=60)
    with kit.observe("a"), httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
        kit.flush()
        with streaming(client, f"/progress/{key}/events/") as events:
            assert events.job()["id"] == "a"
            expire()
            assert [block["retry"] for block in events if "retry" in block] == ["1000"]
        assert client.get(f"/progress/{key}/events/").status_code == 404


def test_a_socket_ends_when_a_key_of_it_expires(kit: Kit, address: str, expire: Callable[[], None]) -> None:
    key = Surface(kit).sign("a", ttl=60)
    with kit.observe("a"), opened(address) as page:
        kit.flush()
        say(page, watch=["b", key])
        assert received(page)["key"] == key
        expire()
        assert code(page) == 1001


def test_a_key_that_was_given_up_ends_nothing(kit: Kit, address: str, expire: Callable[[], None]) -> None:
    key = Surface(kit).sign("a", ttl=60)
    with kit.observe("b") as job, opened(address) as page:
        say(page, watch=["b", key])
        say(page, unwatch=[key])
        say(page, watch=["bad key"])
        while received(page)["key"] != "bad key":
            pass  # so far it has read
        expire()
        looked = time.monotonic() + 2.5 * fanout.TICK_SECONDS
        while time.monotonic() < looked:
            job.advance()
            assert received(page)["key"] == "b"


# What a socket is asked


def test_a_key_that_is_watched_twice_is_reported_once_at_each_change(kit: Kit, address: str) -> None:
    with kit.observe("a") as job, opened(address) as page:
        kit.flush()
        for _ in range(2):
            say(page, watch=["a"])
            assert received(page)["job"]["current"] == 0
        job.set_progress(1)
        assert received(page)["job"]["current"] == 1
        job.set_progress(2)
        assert received(page)["job"]["current"] == 2


def test_what_is_watched_no_longer_is_not_reported(kit: Kit, address: str) -> None:
    both = Surface(kit).sign(["a", "b"])
    with kit.observe("a") as a, kit.observe("b") as b, opened(address) as page:
        kit.flush()
        say(page, watch=[both, "b"])
        assert sorted(received(page)["key"] for _ in range(3)) in (["a", "b", "b"], ["a", "b", "b"])
        say(page, unwatch=[both], watch=["none!"])
        while received(page)["key"] != "none!":
            pass
        a.set_progress(1)
        kit.flush()
        b.set_progress(1)
        assert received(page) == {"key": "b", "job": {**received_of(kit, "b")}}


def received_of(kit: Kit, id: str) -> dict[str, Any]:
    kit.flush()
    record = kit.get(id)
    assert record is not None
    return record.to_dict()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no JSON", 1007),
        ("[" * 60_000, 1007),
        ("[]", 1007),
        ('{"watch": "a"}', 1007),
        ('{"watch": [1]}', 1007),
        ('{"look": ["a"]}', 1007),
        (json.dumps({"watch": [f"job-{number}" for number in range(101)]}), 1007),
        (json.dumps({"watch": ["x" * FRAME_BYTES]}), 1009),
        (b'{"watch": ["a"]}', 1003),
    ],
    ids=range(9),
)
def test_what_cannot_be_meant_closes_the_socket(address: str, message: str | bytes, expected: int) -> None:
    with opened(address) as page:
        page.send(message)
        assert code(page) == expected


def test_where_serve_is_the_server_no_longer_message_even_comes_in(kit: Kit) -> None:
    message = json.dumps({"watch": ["é" * 40_000]}, ensure_ascii=False)
    assert len(message) < FRAME_BYTES < len(message.encode())
    with _served(server(kit, "/progress")) as address, opened(address) as page:
        page.send(message)
        assert code(page) == 1009


def test_a_socket_watches_at_most_the_configured_number_of_jobs(kit: Kit, address: str) -> None:
    with opened(address) as page:
        for hundred in range(6):
            say(page, watch=[f"job-{hundred}-{number}" for number in range(100)])
        assert code(page) == 1008


def test_a_socket_keeps_little_of_refused_keys_for_a_client_that_does_not_read(kit: Kit) -> None:
    app = ProgressApp(kit=kit)
    with serving(app) as address, kit.observe("a"), opened(address) as page:
        say(page, watch=["a"])
        assert received(page)["key"] == "a"
        (of_loop,) = app._fanouts.values()
        (line,) = of_loop._members
        assert isinstance(line, SocketConnection)
        most = 0
        with suppress(ConnectionClosed):
            for number in range(MOST_NAMES - 1):  # far more than all buffers between the two hold
                say(page, watch=[f"no key! {number} {'x' * 60_000}"])
                most = max(most, sum(len(name) for name, _ in list(line._texts)))
        assert eventually(lambda: line._closing == sockets.REFUSED)
        assert most <= sockets.REFUSED_BYTES
        assert code(page) == sockets.REFUSED, "it is told why, once it reads"


def test_past_the_budget_a_socket_is_asked_to_come_later(kit: Kit) -> None:
    kit.configure("memory://", allow_anonymous=True, max_streams=1)
    with serving(ProgressApp(kit=kit)) as address, opened(address) as first:
        say(first, watch=["no key!"])
        assert received(first) == {"key": "no key!", "job": None}
        with opened(address) as second:
            assert code(second) == 1013
        first.close()

        def finds_place() -> bool:
            with opened(address) as third:
                try:
                    say(third, watch=["no key!"])
                    return bool(third.recv(PATIENCE))
                except ConnectionClosed:
                    return False

        assert eventually(finds_place)


def test_past_its_share_a_client_is_asked_to_come_later(kit: Kit) -> None:
    kit.configure("memory://", allow_anonymous=True, max_streams_per_client=1, trusted_proxies=0)
    with serving(ProgressApp(kit=kit)) as address, opened(address) as first:
        say(first, watch=["no key!"])
        assert received(first) == {"key": "no key!", "job": None}
        with opened(address) as second:
            assert code(second) == 1013
    assert eventually(lambda: PROCESS_LIMITER.acquired == 0)
    assert PROCESS_LIMITER.acquire(1, "127.0.0.1", 1)
    PROCESS_LIMITER.release("127.0.0.1")


def test_sockets_are_below_ws_only(address: str) -> None:
    from websockets.exceptions import InvalidStatus

    with (
        pytest.raises(InvalidStatus),
        connect(f"{address.replace('http', 'ws')}/progress/a/", proxy=None, open_timeout=PATIENCE),
    ):
        pass


# Kits and loops that end


def test_a_server_on_anyio_ends_a_socket_as_its_own_cancellation(kit: Kit) -> None:
    from starlette.testclient import TestClient

    client = TestClient(ProgressApp(kit=kit))
    for _ in range(20):  # it cancels the application right after the message that the client has left
        with client.websocket_connect("/progress/ws/") as page:
            page.send_json({"watch": ["no key!"]})
            assert page.receive_json() == {"key": "no key!", "job": None}
    assert PROCESS_LIMITER.acquired == 0


def test_a_kit_that_is_reconfigured_ends_its_streams_and_serves_on(kit: Kit, address: str) -> None:
    with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
        with streaming(client, "/progress/a/events/") as events, opened(address) as page:
            assert events.next("retry") == "1000"
            say(page, watch=["no key!"])
            received(page)
            kit.configure("memory://", allow_anonymous=True)
            assert [block["retry"] for block in events] == ["1000"]
            assert code(page) == 1001
        with kit.observe("a"):
            pass
        assert sent_events(client.get("/progress/a/events/"))[-1]["id"]


def test_nothing_is_kept_of_loops_that_have_ended(kit: Kit) -> None:
    app = ProgressApp(kit=kit)
    loops = []

    async def one_stream() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        begun = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                begun.set()

        task = asyncio.create_task(app(scope(), silent, send))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(3):
        asyncio.run(one_stream())
    asyncio.run(app({"type": "http", "path": "/", "headers": []}, silent, ignore))

    def kept() -> int:
        gc.collect()
        return sum(loop() is not None for loop in loops)

    # The hub's thread lets go of them in a moment; of the last one when another stream begins.
    assert eventually(lambda: kept() <= 1)
    assert PROCESS_LIMITER.acquired == 0


def test_a_stream_ends_where_the_server_never_says_so(kit: Kit) -> None:
    with kit.observe("a"):
        pass
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(ProgressApp(kit=kit)(scope(), silent, send), PATIENCE))
    assert [message.get("more_body") for message in sent] == [None, True, False]


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a bug of the server")])
def test_a_send_that_fails_ends_its_stream_and_no_other(kit: Kit, error: Exception) -> None:
    app = ProgressApp(kit=kit)

    async def failing(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise error

    async def both() -> list[Any]:
        seen: list[Any] = []

        async def send(message: Any) -> None:
            seen.append(message)

        good = asyncio.create_task(app(scope(), silent, send))
        bad = asyncio.create_task(app(scope(), silent, failing))
        await asyncio.wait((bad,), timeout=PATIENCE)
        assert bad.done()
        assert bad.exception() is (None if isinstance(error, OSError) else error)
        with kit.observe("a"):
            pass
        await asyncio.wait_for(good, PATIENCE)
        return seen

    assert asyncio.run(both())[-1]["more_body"] is False
    assert PROCESS_LIMITER.acquired == 0


def scope() -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/progress/a/events/", "headers": []}


async def silent() -> Any:
    await asyncio.get_running_loop().create_future()


async def ignore(message: Any) -> None:
    pass
