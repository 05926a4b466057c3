"""Which addresses there are below the mount."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

FILES = ("progresskit.js", "openapi.json")
_PARAMETERS = 1_000


class Route(NamedTuple):
    """One kind of address; `key` is the one in the path, and `file` the name of what is served as it is."""

    name: str
    method: str = "GET"
    key: str | None = None
    file: str | None = None

    @property
    def allow(self) -> str:
        """What the header `Allow` says."""
        return "GET, HEAD" if self.method == "GET" else self.method


def find(path: str) -> Route | None:
    """Return the route of a path; the slash at the end may be missing, but no file has one."""
    if path in FILES:
        return Route("file", file=path)
    match path.removesuffix("/").split("/"):
        case [""] if not path:
            return Route("records")
        case ["events"]:
            return Route("streams")
        case [key] if key and key not in FILES:
            return Route("record", key=key)
        case [key, "events"]:
            return Route("stream", key=key)
        case [key, "cancel"]:
            return Route("cancel", "POST", key=key)
    return None


class Query(NamedTuple):
    """What the query says; what it says else is ignored."""

    keys: tuple[str, ...] = ()
    form: str | None = None
    last_event_id: str | None = None


def parse_query(query: str) -> Query | None:
    """Read a query as it was sent; None if it cannot be meant."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=_PARAMETERS)
    except ValueError:
        return None
    last = dict(pairs)
    form = last.get("as")
    if form not in (None, "html", "json"):
        return None
    return Query(tuple(value for name, value in pairs if name == "key"), form, last.get("last_event_id"))
