"""Reading request headers; whatever is malformed is taken as not sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .http import Headers

_TAG = re.compile(r'(?:^|,)[ \t]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')
_WAIT = re.compile(r'(?:^|,)[ \t]*wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(?=[,;]|$)', re.IGNORECASE)
_QUALITY = re.compile(r"q[ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def none_match(headers: Headers, etag: str) -> bool:
    """Tell whether `If-None-Match` names the tag, compared weakly: a proxy that compresses makes tags weak."""
    value = headers.get("if-none-match")
    if not value:
        return False
    return value.strip() == "*" or etag in _TAG.findall(value)


def wait_seconds(headers: Headers) -> int:
    """Return the seconds of `Prefer: wait=…`; 0 without one."""
    prefer = headers.get("prefer")
    found = _WAIT.search(prefer) if prefer else None
    return int(found[1]) if found else 0


def prefers_html(headers: Headers) -> bool:
    """Tell whether `Accept` wants HTML more than JSON; where it wants both alike, JSON it is."""
    accept = headers.get("accept")
    if not accept or accept == "*/*":
        return False
    return _quality(accept, "*/*", "text/*", "text/html") > _quality(accept, "*/*", "application/*", "application/json")


def accepts_gzip(headers: Headers) -> bool:
    """Tell whether `Accept-Encoding` has gzip; what is not named there is not taken for accepted."""
    return _quality(headers.get("accept-encoding") or "", "*", "gzip") > 0


def _quality(accept: str, *ranges: str) -> float:
    """Return how much is wanted what all the ranges cover, by the last of them that is named; 0 if none is."""
    best, quality = -1, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if name in ranges and ranges.index(name) > best:
            best = ranges.index(name)
            found = [match[1] for piece in parameters if (match := _QUALITY.fullmatch(piece))]
            quality = float(found[0]) if found else 1.0
    return quality


def same_origin(headers: Headers) -> bool:
    """
    Tell whether a request that changes something comes from a page of this site, or from no browser at all.

    A page elsewhere cannot send `X-Progresskit` (that takes a preflight, which is never granted), nor can any page
    forge `Sec-Fetch-Site` and `Origin`, which browsers send by themselves. With none of the three, nothing tells a
    forged form from a script on a server, so it is refused.
    """
    if headers.get("x-progresskit") is not None:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site.strip().lower() == "same-origin"
    return _is_origin(headers.get("origin") or "", headers.get("host") or "")


def foreign_origin(headers: Headers) -> bool:
    """
    Tell whether a page of another site opens a WebSocket.

    Browsers always send `Origin` with it, and no page can forge that. What sends none is no browser: it has no cookies
    that a page could misuse.
    """
    origin = headers.get("origin")
    return origin is not None and not _is_origin(origin, headers.get("host") or "")


def _is_origin(origin: str, host: str) -> bool:
    """
    Tell whether the origin has this host and port.

    Its scheme is not compared: behind a proxy that ends TLS, ours is not known.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(parts.scheme)
    if not parts.netloc or port is None:
        return False
    return parts.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)
