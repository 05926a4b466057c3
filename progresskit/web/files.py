"""Static files: the browser component and the OpenAPI description."""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .headers import accepts_gzip, none_match
from .http import empty, respond

if TYPE_CHECKING:
    from .http import Response
    from .request import Request

_TYPES = {".js": "text/javascript; charset=utf-8", ".json": "application/json"}


class _File(NamedTuple):
    plain: bytes
    packed: bytes
    etag: str


@cache
def _load(name: str) -> _File:
    plain = Path(__file__).with_name(name).read_bytes()
    return _File(plain, gzip.compress(plain, mtime=0), sha256(plain).hexdigest()[:32])


def file(request: Request, name: str) -> Response:
    """Answer `GET progresskit.js` and the like, compressed where that is accepted."""
    found = _load(name)
    packed = accepts_gzip(request.headers)
    etag = f'"{found.etag}.gz"' if packed else f'"{found.etag}"'
    headers: dict[str, str | None] = {"ETag": etag, "Cache_Control": "public, no-cache", "Vary": "Accept-Encoding"}
    if none_match(request.headers, etag):
        return empty(304, **headers)
    body = found.packed if packed else found.plain
    return respond(200, _TYPES[Path(name).suffix], body, Content_Encoding="gzip" if packed else None, **headers)
