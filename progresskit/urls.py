"""
Backend URLs: removal of their secrets, and refusal of ambiguous ones.

Drivers disagree about the end of a password with an unquoted `@`, `/`, `?`, `#` or `[`. They may take a part of it for
a host, a port or a path, and show it in their errors, so such a URL is refused before any of them sees it.
"""

from __future__ import annotations

import re

from .errors import ConfigurationError

_SCHEME = re.compile(r"[a-z][\w+.-]*", re.IGNORECASE | re.ASCII)

_HOST = r"(?:[\w.%~-]+|\[[\da-f:.]+(?:%[\w.-]+)?\])(?::\d{1,5})?"
_HOSTS = rf"(?:{_HOST}(?:,{_HOST})*)?"
_PLACE = rf"{_HOSTS}(?:/[\w.:~+%=-]*)*"
"""Compiled when a URL is shown or refused: that takes a hundredth of the time that the kit takes to import."""
_USER = re.compile(r"[\w.%~+-]*")
_APP = re.compile(r"[\w.]+(?::[\w.]+)?")
_CREDENTIALS_IN_PATH = re.compile(r":[^/]*@")
_REST = re.compile(r"[?#]")
_ALTERNATES = re.compile(r";(?=[a-z][\w+.-]*://)", re.IGNORECASE | re.ASCII)
"""Between the URLs of several brokers or Sentinels, as Kombu and Celery write them."""


def redact(url: str) -> str:
    """
    Return the URL without its password, its query and its fragment, for logs, messages and `repr`.

    Only parts that are certainly a scheme, a user name, hosts and a path are shown.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return "..."
    place, *query = _REST.split(rest, maxsplit=1)
    if place.startswith("/"):  # of a file
        secret, credentials = bool(_CREDENTIALS_IN_PATH.search(place)), ""
    elif scheme.lower() == "celery":
        secret, credentials = bool(place) and not _APP.fullmatch(place), ""
    else:
        hidden, at, place = place.rpartition("@")
        # An `@` behind the first `?` or `#` is the end of a password, or of none.
        secret = "@" in "".join(query) or not re.fullmatch(_PLACE, place, re.IGNORECASE)
        credentials = _shown_user(hidden) if at else ""
    return f"{scheme}://..." if secret else f"{scheme}://{credentials}{place}{'?...' if query else ''}"


def scheme_of(url: str) -> str | None:
    """Return the scheme in small letters; None for a missing or an invalid one."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator and _SCHEME.fullmatch(scheme) else None


def redact_path(path: str) -> str:
    """Return the path of a file for a message; an ellipsis where it was meant to be a user's name and password."""
    return "..." if _CREDENTIALS_IN_PATH.search(path) else path


def _shown_user(credentials: str) -> str:
    user, colon, _ = credentials.partition(":")
    return f"{user}:***@" if colon and _USER.fullmatch(user) else "***@"


def is_plain(url: str) -> bool:
    """
    Return whether every driver finds the same password in the URL of a server.

    It is ambiguous where an `@` stands behind the authority, or twice in it, where there is a bracket in the
    credentials, and where there are no credentials and the authority is not `host` or `host:port`.
    """
    return all(map(_is_plain, _ALTERNATES.split(url)))


def _is_plain(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    if not _SCHEME.fullmatch(scheme):
        return False
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not authority:  # of a file
        return not _CREDENTIALS_IN_PATH.search(_REST.split(rest)[0])
    credentials, at, _ = authority.rpartition("@")
    brackets = not {"[", "]"}.isdisjoint(credentials)
    return rest.count("@") == len(at) and not brackets and bool(at or re.fullmatch(_HOSTS, authority, re.IGNORECASE))


def check_server_url(url: str) -> None:
    """Raise ConfigurationError for a URL that is not plain."""
    if not is_plain(url):
        raise ConfigurationError(
            f"{redact(url)}: the user, the password and the host are ambiguous. Percent-encode `@ / ? # [ ] %` "
            "in a user name or a password, and `@` everywhere else (`@` is %40, `/` is %2F); the host is followed by "
            "nothing but a port"
        )


def describe(error: BaseException, url: str) -> str:
    """Return the text of a driver's error; only its type where that text may hold a part of the URL's password."""
    return str(error) or type(error).__name__ if is_plain(url) else type(error).__name__
