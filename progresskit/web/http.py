"""Responses, without a framework: a shim converts a `Response` into its framework's response."""

from __future__ import annotations

import json
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .streams import Stream

RETRY_AFTER = "1"
"""Seconds between two polls of a job that is not done."""


class Response(NamedTuple):
    """One answer; a `Stream` is for the shim to iterate and to close."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Stream = b""


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
    return {_header(name): value for name, value in headers.items() if value is not None}


@cache
def _header(name: str) -> str:
    return name.replace("_", "-")


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
