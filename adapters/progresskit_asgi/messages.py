"""ASGI's requests and answers on one side, those of `progresskit.web` on the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from progresskit.web import Form, RenderedRecord, Request, Server

if TYPE_CHECKING:
    from progresskit import Progress

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Headers:
    """The headers of a scope, by name."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        values = self._values = dict[bytes, bytes]()
        for name, value in pairs:
            values[name] = value if name not in values else values[name] + b", " + value

    def get(self, name: str, /) -> str | None:
        """Return the value of a header, ignoring case, several joined by a comma; None where it was not sent."""
        value = self._values.get(_encoded_name(name))
        return None if value is None else value.decode("latin-1")


class ASGIRequest(NamedTuple):
    """The request that `authorize` receives: the scope, including the entries of middleware, and its headers."""

    scope: Scope
    headers: Headers


def request(scope: Scope, prefix: str, receive: Receive | None = None) -> Request:
    """Make the request of a scope; `receive` gives the body of one of HTTP."""
    headers = Headers(scope.get("headers", ()))
    peer = scope.get("client")
    return Request(
        method=scope.get("method", "GET"),
        path=path(scope, prefix),
        query=scope.get("query_string", b"").decode("utf-8", "replace"),
        headers=headers,
        server=Server.LOOP,
        native=ASGIRequest(scope, headers),
        peer=peer[0] if peer else None,
        read=receive and _reader(receive),
    )


def _reader(receive: Receive) -> Callable[[int], Awaitable[bytes]]:
    """Return the function that reads a body, in the parts in which the server received it."""
    has_ended = False

    async def read(size: int) -> bytes:
        nonlocal has_ended
        part = b""
        while not (part or has_ended):
            message = await receive()
            part = message.get("body", b"")
            has_ended = not message.get("more_body", False)
        return part

    return read


def path(scope: Scope, prefix: str) -> str:
    """
    Return the part of the path below the mount, without its leading slash.

    A framework that mounts the app sets `root_path`; some leave that in `path`, as ASGI defines it, and some strip it.
    Without a mount, the prefix is stripped here. Litestar appends a slash, which is removed for files.
    """
    path: str = scope["path"]
    raw = scope.get("raw_path") or b"/"
    if b"?" in raw:
        raw = raw.partition(b"?")[0]
    if path.endswith("/") and not raw.endswith((b"/", b"%2F", b"%2f")):
        path = path[:-1]
    root: str = scope.get("root_path", "")
    below = _below(path, root) if root else path
    if not root.endswith(prefix):
        below = _below(below, prefix)
    return below.removeprefix("/")


def _below(path: str, mount: str) -> str:
    """Return the part of a path below `mount`, or all of it where it does not lie there."""
    rest = path.removeprefix(mount)
    return path if rest and not rest.startswith("/") else rest


def start(status: int, headers: Mapping[str, str]) -> Message:
    """Return the message that begins an answer."""
    pairs = [(_encoded_name(name), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


@lru_cache(200)
def _encoded_name(name: str) -> bytes:
    return name.lower().encode("latin-1")


def body(data: bytes, more: bool = False) -> Message:
    """Return the message that carries a body, or a part of one."""
    return {"type": "http.response.body", "body": data, "more_body": more}


class FanoutRecord(RenderedRecord):
    """A record on its way to viewers, with the message that all get who watch that job alone, in one form."""

    __slots__ = ("_messages",)

    def __init__(self, record: Progress, before: FanoutRecord | None = None) -> None:
        super().__init__(record, before)
        self._messages: dict[Form, Message] = {}

    def message(self, form: Form) -> Message:
        """Return the message, which is not to be changed."""
        message = self._messages.get(form)
        if message is None:
            message = self._messages[form] = body(self.encode_event(form), more=not self.done)
        return message
