"""Django's requests and responses on one side, those of `progresskit.web` on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from progresskit.web import Request, Response, Server, Stream, Surface, wsgi_abort


def _close_databases() -> None:
    """Close this thread's database connections, so that a long wait does not occupy them."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await sync_to_async(function)(*arguments)


surface = Surface(before_wait=_close_databases, in_thread=_in_thread)


@csrf_exempt
@non_atomic_requests
def view(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer under WSGI."""
    surface.warn_unshared()
    server = Server.THREADS if request.META.get("wsgi.multithread") else Server.ONE_BY_ONE
    # WSGI hands over bytes as if they were Latin-1.
    query = request.META.get("QUERY_STRING", "")
    if query:
        query = query.encode("latin-1", "replace").decode("utf-8", "replace")
    answer = surface.answer(_request(request, path, query, server))
    return _response(answer, answer.body)


@csrf_exempt
@non_atomic_requests
async def async_view(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer under ASGI."""
    surface.warn_unshared()
    answer = await surface.aanswer(_request(request, path, request.META.get("QUERY_STRING", ""), Server.LOOP))
    return _response(answer, _Awaited(answer.body) if isinstance(answer.body, Stream) else answer.body)


class _Headers:
    """The headers as they lie in `META`, which is cheaper than `request.headers`."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self._meta = meta

    def get(self, name: str, /) -> str | None:
        value: str | None = self._meta.get(_META_NAMES[name])
        return value


class _MetaNames(dict[str, str]):
    """The names that headers have in `META`; each is made once."""

    def __missing__(self, name: str) -> str:
        self[name] = f"HTTP_{name.upper().replace('-', '_')}"
        return self[name]


_META_NAMES = _MetaNames()


class _Awaited:
    """A stream with `async for` alone, by which Django recognises that it must iterate asynchronously."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.close = stream.close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)


def _request(request: HttpRequest, path: str, query: str, server: Server) -> Request:
    request.get_host()  # refuses hosts that are not in ALLOWED_HOSTS; no middleware may have checked that
    meta = request.META
    peer, abort = meta.get("REMOTE_ADDR"), wsgi_abort(meta)
    return Request(request.method or "", path, query, _Headers(meta), server, request, peer, abort, request.read)


def _response(answer: Response, body: Any) -> HttpResponseBase:
    kind = HttpResponse if isinstance(body, bytes) else StreamingHttpResponse
    headers = answer.headers
    if "Content-Type" in headers:
        return kind(body, status=answer.status, headers=headers)
    response: HttpResponseBase = kind(body, content_type="", status=answer.status, headers=headers)
    del response.headers["Content-Type"]  # which Django sets on every response
    return response
