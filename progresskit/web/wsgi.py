"""The body of a WSGI request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def wsgi_read(environ: Mapping[str, Any]) -> Callable[[int], bytes]:
    """Return the function that reads the body of a WSGI request, which ends where `Content-Length` says."""
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    if environ.get("wsgi.input_terminated"):
        return read
    length = environ.get("CONTENT_LENGTH") or ""
    left = int(length) if length.isascii() and length.isdecimal() else 0

    def read_left(size: int) -> bytes:
        nonlocal left
        data = read(min(size, left)) if left else b""
        left -= len(data)
        return data

    return read_left
