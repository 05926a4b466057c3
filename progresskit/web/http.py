"""
Requests and responses, without a framework.

A shim converts its framework's request into a `Request`, and a `Response` into its framework's response.
"""

from __future__ import annotations

import json
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from .streams import Stream


class Server(Enum):
    """How the process answers several requests at once; the value is how many streams it may hold by default."""

    ONE_BY_ONE = 0
    THREADS = 2
    LOOP = 10_000


class Headers(Protocol):
    """The headers of a request, by name in lower case."""

    def get(self, name: str, /) -> str | None:
        """Return the value, several of one name joined by a comma; None where it was not sent."""


class Request(NamedTuple):
    """
    One request below the mount.

    `path` is decoded and has no leading slash, `query` is as it was sent. `native` is the framework's own request,
    which is passed to the site's `authorize`. `peer` is the address that the connection comes from, if it has one.
    `abort` cuts the connection off from another thread, where the server exposes its socket. `read` returns the next
    part of the body, of about so many bytes at most, and no bytes at its end; in an event loop it may be async.
    """

    method: str
    path: str
    query: str
    headers: Headers
    server: Server
    native: Any = None
    peer: str | None = None
    abort: Callable[[], None] | None = None
    read: Callable[[int], bytes | Awaitable[bytes]] | None = None


class Response(NamedTuple):
    """One answer; a `Stream` is for the shim to iterate and to close."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Stream = b""


class SharedHeaders(dict[str, str]):
    """
    The headers of a response that is sent many times, and therefore never changed.

    A shim may keep their encoded form for its server in `encoded`.
    """

    __slots__ = ("encoded",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.encoded: Sequence[tuple[bytes, bytes]] = ()


def respond(status: int, content_type: str, body: bytes, **headers: str | None) -> Response:
    """Return an answer with the headers that all have; `Cache_Control="…"` sets that header, None leaves it out."""
    fixed = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
    }
    return Response(status, fixed | _given(headers), body)


def empty(status: int, **headers: str | None) -> Response:
    """Return an answer that cannot have a body (204, 304)."""
    return Response(status, _given(headers))


def _given(headers: Mapping[str, str | None]) -> dict[str, str]:
    return {_HEADER_NAMES[name]: value for name, value in headers.items() if value is not None}


class _HeaderNames(dict[str, str]):
    """Maps names as they are written in Python to names of headers; each is made once."""

    def __missing__(self, name: str) -> str:
        self[name] = name.replace("_", "-")
        return self[name]


_HEADER_NAMES = _HeaderNames()


def problem(status: int, detail: str, **headers: str | None) -> Response:
    """Return an `application/problem+json`; `detail` never contains data of the request."""
    title = HTTPStatus(status).phrase
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    cache: dict[str, str | None] = {"Cache_Control": "no-store"}
    return respond(status, "application/problem+json", body.encode(), **cache | headers)


def refused() -> Response:
    """
    Return the response for a token or id that does not give the access: malformed, expired, foreign, without the right.

    It is the same for all, so that it reveals nothing about the job; without `Retry-After`, clients know that waiting
    does not help.
    """
    return problem(404, "This token or id gives no access here.")


def unknown(retry_after: str, **headers: str | None) -> Response:
    """Return the response for a valid key of a job that has not been reported yet."""
    return problem(404, "This job has not been reported yet.", Retry_After=retry_after, **headers)
