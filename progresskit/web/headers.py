"""Parsing of request headers; a malformed header counts as not sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .request import Headers

_TAG = re.compile(r'(?:^|,)[ \t]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')
_WAIT = re.compile(r'(?:^|,)[ \t]*wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(?=[,;]|$)', re.IGNORECASE)
_QUALITY = re.compile(r"q[ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def none_match(headers: Headers, etag: str) -> bool:
    """Return whether `If-None-Match` names the tag, compared weakly: a proxy that compresses makes tags weak."""
    value = headers.get("if-none-match")
    if not value:
        return False
    if value == etag:
        return True
    return value.strip() == "*" or etag in _TAG.findall(value)


def wait_seconds(headers: Headers) -> int:
    """Return the seconds of `Prefer: wait=…`; 0 without one."""
    prefer = headers.get("prefer")
    found = _WAIT.search(prefer) if prefer else None
    return int(found[1]) if found else 0


def prefers_html(headers: Headers) -> bool:
    """Return whether `Accept` prefers HTML to JSON; with equal preference the answer is JSON."""
    accept = headers.get("accept")
    if not accept or accept == "*/*":
        return False
    return _quality(accept, "*/*", "text/*", "text/html") > _quality(accept, "*/*", "application/*", "application/json")


def accepts_gzip(headers: Headers) -> bool:
    """Return whether `Accept-Encoding` names gzip, or `*`; without the header gzip is not accepted."""
    return _quality(headers.get("accept-encoding") or "", "*", "gzip") > 0


def _quality(accept: str, *ranges: str) -> float:
    """Return the quality of the most specific range that is named, the last of `ranges`; 0 if none is named."""
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
    Return whether a request with an effect comes from a page of this site, or from a program that is not a browser.

    A page of another site cannot send `X-Progresskit` (that takes a preflight, which is never granted), and no page can
    forge `Sec-Fetch-Site` and `Origin`, which browsers set. Without any of the three, a forged form looks like a script
    on a server, so the request is refused.
    """
    if headers.get("x-progresskit") is not None:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site.strip().lower() == "same-origin"
    return _is_origin(headers.get("origin") or "", headers.get("host") or "")


def foreign_origin(headers: Headers) -> bool:
    """
    Return whether a page of another site opens a WebSocket.

    Browsers always send `Origin` with it, and no page can forge that header. A client without it is not a browser: it
    has no cookies that a page could misuse.
    """
    origin = headers.get("origin")
    return origin is not None and not _is_origin(origin, headers.get("host") or "")


def _is_origin(origin: str, host: str) -> bool:
    """
    Return whether the origin has this host and port.

    The scheme is not compared: behind a proxy that ends TLS, the site's own scheme is not known.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _DEFAULT_PORTS.get(parts.scheme)
    if not parts.netloc or port is None:
        return False
    return parts.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)
