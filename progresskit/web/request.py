"""Requests, without a framework: a shim converts its framework's request into one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


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
