"""Which addresses there are below the mount."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from progresskit.errors import ConfigurationError

FILES = ("progresskit.js", "progress-group.js", "openapi.json")
_PARAMETERS = 1_000
_SHORT = 500
"""The routes of paths up to this length are remembered."""


def mount_path(prefix: Any) -> str:
    """Return the path of a shim's `url_prefix`, without a trailing slash; raise ConfigurationError if it is none."""
    if not isinstance(prefix, str) or (prefix and not prefix.startswith("/")):
        raise ConfigurationError("url_prefix must be a path that begins with a slash, such as '/progress'")
    return prefix.rstrip("/")


class Route(NamedTuple):
    """One kind of address; `key` is the one in the path, and `file` the name of a static file. GET includes HEAD."""

    name: str
    methods: tuple[str, ...] = ("GET",)
    key: str | None = None
    file: str | None = None

    @property
    def allow(self) -> str:
        """The value of the header `Allow`."""
        return ", ".join(self.methods).replace("GET", "GET, HEAD")


def find(path: str) -> Route | None:
    """Return the route of a path; the slash at the end may be missing, but no file has one."""
    return _found_before(path) if len(path) <= _SHORT else _find(path)


def _find(path: str) -> Route | None:
    if path in FILES:
        return Route("file", file=path)
    match path.removesuffix("/").split("/"):
        case [""] if not path:
            return Route("records")
        case ["events"]:
            return Route("streams")
        case [key] if key and key not in FILES:
            return Route("record", ("GET", "PUT"), key=key)
        case [key, "events"]:
            return Route("stream", key=key)
        case [key, "cancel"]:
            return Route("cancel", ("POST",), key=key)
    return None


_found_before = lru_cache(1_000)(_find)


class Query(NamedTuple):
    """The parameters of the query; unknown ones are ignored."""

    keys: tuple[str, ...] = ()
    form: str | None = None
    last_event_id: str | None = None


_NO_QUERY = Query()


def parse_query(query: str) -> Query:
    """Read a query as it was sent; ValueError says why it cannot be meant."""
    if not query:
        return _NO_QUERY
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=_PARAMETERS)
    except ValueError:
        raise ValueError(f"A query has at most {_PARAMETERS:,} parameters.") from None
    last = dict(pairs)
    form = last.get("as")
    if form not in (None, "html", "json"):
        raise ValueError("The parameter `as` is html or json.")
    return Query(tuple(value for name, value in pairs if name == "key"), form, last.get("last_event_id"))
