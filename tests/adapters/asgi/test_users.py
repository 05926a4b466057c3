"""Who is signed in under ASGI: as Starlette's own middleware puts it into the scope, also on a WebSocket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from progresskit.errors import ConfigurationError
from progresskit.kit import Kit
from progresskit.web import Surface, owner_only
from progresskit.web.limiter import PROCESS_LIMITER
from progresskit_asgi import ProgressApp
from tests.contract.clients import eventually
from tests.contract.shims import uvicorn_serving
from tests.services.waiting import PATIENCE

SECRET = "a secret key that is long enough"

ASKERS: tuple[dict[str, str], ...] = ({"X-User": "ada"}, {"X-User": "bob"}, {})


class User(BaseUser):
    """A user as Starlette has it."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        return self._name


class ByHeader(AuthenticationBackend):
    """Signs in whom a header names."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        name = conn.headers.get("X-User")
        return (AuthCredentials(), User(name)) if name else None


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", secret_key=SECRET, authorize=owner_only, flush_seconds=PATIENCE)
    yield kit
    kit.close()


@pytest.fixture
def address(kit: Kit) -> Iterator[str]:
    progress = ProgressApp(kit=kit)

    async def page(request: Request) -> Response:
        return HTMLResponse(progress.progress_bar("bound", user=request.user))

    routes = [Route("/", page), Mount("/progress", app=progress)]
    with uvicorn_serving(Starlette(routes=routes, middleware=[Middleware(AuthenticationMiddleware, ByHeader())])) as at:
        yield at


def statuses(address: str, path: str) -> list[int]:
    return [httpx.get(f"{address}{path}", headers=who, trust_env=False, timeout=PATIENCE).status_code for who in ASKERS]


def test_an_owner_is_who_is_signed_in(kit: Kit, address: str) -> None:
    with kit.observe("a", owner=User("ada")):
        kit.flush()
        assert statuses(address, "/progress/a/") == [200, 404, 404]


def test_a_socket_serves_an_owner_and_nobody_else(kit: Kit, address: str) -> None:
    def first(who: dict[str, str]) -> Any:
        with connect(
            f"{address.replace('http', 'ws')}/progress/ws/", additional_headers=who, proxy=None, open_timeout=PATIENCE
        ) as socket:
            socket.send(json.dumps({"watch": ["a"]}))
            return json.loads(socket.recv(PATIENCE))

    with kit.observe("a", owner="ada"):
        kit.flush()
        assert [first(who)["job"] is not None for who in ASKERS] == [True, False, False]


@contextmanager
def socket_of(address: str, user: str, key: str) -> Iterator[tuple[ClientConnection, Any]]:
    """Give a socket that watches one key, and the first record or the code that it was closed with."""
    at = f"{address.replace('http', 'ws')}/progress/ws/"
    with connect(at, additional_headers={"X-User": user}, proxy=None, open_timeout=PATIENCE) as socket:
        try:
            socket.send(json.dumps({"watch": [key]}))
            answer = json.loads(socket.recv(PATIENCE))["job"]
        except ConnectionClosed as closed:
            answer = closed.rcvd and closed.rcvd.code
        yield socket, answer


def is_shown_once(address: str, user: str, key: str) -> bool:
    """Return whether a socket of that user's is told of the job; leave it."""
    with socket_of(address, user, key) as (_, answer):
        return isinstance(answer, dict)


def code(address: str, user: str, key: str) -> Any:
    """Return the code that a socket of that user's is closed with."""
    with socket_of(address, user, key) as (_, answer):
        return answer


@pytest.mark.parametrize("way", ["key", "id"])
def test_a_users_sockets_and_streams_are_of_one_share(kit: Kit, address: str, way: str) -> None:
    kit.configure("memory://", secret_key=SECRET, authorize=owner_only, max_streams_per_client=1)
    ada, bob = (Surface(kit).sign("a", user=name) for name in ("ada", "bob"))
    asked = ada if way == "key" else "a"
    with kit.observe("a", owner="ada"):
        kit.flush()
        with socket_of(address, "ada", asked) as (socket, answer):
            assert answer["id"] == "a"
            assert code(address, "ada", ada) == code(address, "ada", "a") == 1013
            with streaming(address, "ada", ada) as stream:
                assert next(stream) == "retry: 2000"
            assert is_shown_once(address, "bob", bob)
            socket.send(json.dumps({"watch": [ada, "bad"]}))  # more keys of the same user take nothing more
            while json.loads(socket.recv(PATIENCE)) != {"key": "bad", "job": None}:
                pass
        assert eventually(lambda: is_shown_once(address, "ada", asked))
        assert eventually(lambda: PROCESS_LIMITER.acquired == 0)
        with streaming(address, "ada", ada) as stream:
            assert next(stream) == "retry: 1000"
            assert code(address, "ada", asked) == 1013
    assert eventually(lambda: PROCESS_LIMITER.acquired == 0)


def test_a_socket_passes_its_place_on_to_its_user_and_needs_no_other(kit: Kit, address: str) -> None:
    kit.configure("memory://", secret_key=SECRET, max_streams_per_client=1, max_streams=1, trusted_proxies=0)
    with kit.observe("a"):
        kit.flush()
        with socket_of(address, "ada", Surface(kit).sign("a", user="ada")) as (_, answer):
            assert answer["id"] == "a"
            assert PROCESS_LIMITER.acquired == 1
            assert not PROCESS_LIMITER.acquire(9, "user ada", 1)
            assert PROCESS_LIMITER.acquire(9, "127.0.0.1", 1)
            PROCESS_LIMITER.release("127.0.0.1")
        assert eventually(lambda: PROCESS_LIMITER.acquired == 0)
        assert is_shown_once(address, "bob", Surface(kit).sign("a"))
    assert eventually(lambda: PROCESS_LIMITER.acquired == 0)
    assert PROCESS_LIMITER.acquire(1, "user ada", 1)
    PROCESS_LIMITER.release("user ada")


@contextmanager
def streaming(address: str, user: str, key: str) -> Iterator[Iterator[str]]:
    """Give the lines of a stream."""
    with httpx.stream(
        "GET", f"{address}/progress/{key}/events/", headers={"X-User": user}, trust_env=False, timeout=PATIENCE
    ) as response:
        yield response.iter_lines()


def test_a_bar_may_open_for_who_is_signed_in_only(kit: Kit, address: str) -> None:
    html = httpx.get(f"{address}/", headers=ASKERS[0], trust_env=False, timeout=PATIENCE).text
    (path,) = re.findall(r'src="(/progress/~[^"]+)"', html)
    with kit.observe("bound"):
        kit.flush()
        assert statuses(address, path) == [200, 404, 404]


def test_where_all_bars_are_bound_each_is_given_its_user(kit: Kit) -> None:
    kit.configure("memory://", secret_key=SECRET, bind_tokens_to_user=True)
    with pytest.raises(ConfigurationError, match="`user`"):
        ProgressApp(kit=kit).progress_bar("a")
    assert "<progress-bar" in ProgressApp(kit=kit).progress_bar("a", user=User("ada"))


def test_a_site_may_say_itself_who_is_signed_in(kit: Kit, address: str) -> None:
    kit.configure("memory://", authorize=owner_only, user=lambda request: request.headers.get("X-User"))
    with kit.observe("a", owner="bob"):
        kit.flush()
        assert statuses(address, "/progress/a/") == [404, 200, 404]
