"""More clients: a kept connection whose polls are timed, and a bare socket; and those of the shim contract."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse

import httpx

from progresskit.testing.shims.clients import (
    Events,
    answers_described,
    blocks,
    described_client,
    eventually,
    is_refused,
    sent_events,
    streaming,
)

__all__ = [
    "STALL_SECONDS",
    "Events",
    "answers_described",
    "ask",
    "blocks",
    "described_client",
    "eventually",
    "is_refused",
    "kept_connection",
    "quickest",
    "sent_events",
    "streaming",
]

LISTED = ("content-type", "etag", "vary", "cache-control", "retry-after", "allow", "x-accel-buffering")

STALL_SECONDS = 0.035
"""What waits for a delayed acknowledgement takes 40 ms or more, each time, once a connection was used for a while."""


def quickest(act: Callable[[], object], times: int = 20) -> float:
    """Return the shortest of several times: a busy machine makes some of them long, and a stall makes all of them."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return min(taken)


@contextmanager
def kept_connection(address: str, path: str) -> Iterator[tuple[HTTPConnection, Callable[[], None]]]:
    """Give a connection and what polls on it, after its first answers, which are acknowledged at once."""
    url = httpx.URL(address)
    with closing(HTTPConnection(url.host, url.port, timeout=60)) as connection:

        def poll() -> None:
            connection.request("GET", path)
            assert connection.getresponse().read()

        quickest(poll)
        yield connection, poll


def ask(site: str, method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Send what a client would put right or refuse to send; return status, listed headers and body."""
    host, port = site.removeprefix("http://").split(":")
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Host: {host}:{port}", "Connection: close", "", ""]
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        response = HTTPResponse(connection, method=method)
        response.begin()
        listed = {name.lower(): value for name, value in response.headers.items() if name.lower() in LISTED}
        return response.status, listed, response.read()
