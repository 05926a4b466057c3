"""Which hosts a request may be for, on every shim."""

from __future__ import annotations

import json
from socket import create_connection

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

import progresskit
from progresskit.hosts import Hosts, own_hosts, patterns
from progresskit.testing.shims.allowed import ELSEWHERE, LOCAL, asked, is_refused_for_its_host
from progresskit.testing.shims.jobs import running

from .shims import Shim

pytestmark = pytest.mark.usefixtures("contract")


MALFORMED = (
    "",
    "a b",
    "localhost, evil.example",
    "localhost/",
    "user@localhost",
    "[::1",
    "localhost:port",
    "x" * 5_000,
)


@pytest.mark.parametrize("host", [*LOCAL, *ELSEWHERE])
def test_by_default_serve_alone_asks_for_whom_a_request_is(
    shim: Shim, client: httpx.Client, id: str, key: str, host: str
) -> None:
    with running(id):
        answer = asked(client, host, f"{key}/")
    if shim.name == "serve" and host in ELSEWHERE:
        assert is_refused_for_its_host(answer)
    else:
        assert (answer.status_code, answer.json()["id"]) == (200, id)


def test_what_is_set_replaces_what_a_shim_allows_but_what_is_serves_own(
    shim: Shim, client: httpx.Client, id: str, key: str
) -> None:
    progresskit.configure("memory://", allowed_hosts=["www.example.com"])
    with running(id):
        for host in LOCAL:
            answer = asked(client, host, f"{key}/")
            assert answer.status_code == (200 if shim.name == "serve" else 400), host


def test_a_socket_is_opened_for_allowed_hosts_only(shim: Shim, site: str, id: str, key: str) -> None:
    if shim.threaded or shim.name == "django-asgi":
        pytest.skip("has no WebSockets")
    port = site.rpartition(":")[2]
    progresskit.configure("memory://", allowed_hosts=["www.example.com"])
    with opened("www.example.com", port) as page:
        page.send(json.dumps({"watch": [key, "no key!"]}))
        assert json.loads(page.recv(60)) == {"key": "no key!", "job": None}
    with pytest.raises(InvalidStatus) as refused, opened("evil.example", port):
        pass
    assert refused.value.response.status_code == 403


def opened(host: str, port: str) -> ClientConnection:
    connection = create_connection(("127.0.0.1", int(port)))
    return connect(f"ws://{host}:{port}/progress/ws/", sock=connection, proxy=None, open_timeout=60)


@pytest.mark.parametrize("host", MALFORMED)
def test_what_is_no_host_is_not_allowed(host: str) -> None:
    assert not own_hosts("0.0.0.0").allow(host)
    assert not Hosts(patterns(["*"])).allow(host)


def test_the_host_that_a_server_listens_at_is_its_own() -> None:
    assert own_hosts("progress.internal").allow("Progress.Internal:8766")
    assert own_hosts("::1").allow("[0:0:0:0:0:0:0:1]:80")
