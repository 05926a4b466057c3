"""
The HTTP surface, without a framework.

Pages get keys from `sign`. A shim for one more framework makes a `Request`, gives it to a `Surface`, and turns the
`Response` into what its framework wants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .http import Request, Response, Server
from .streams import Stream
from .surface import Surface
from .tokens import TOKEN_SECONDS, Right

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TOKEN_SECONDS", "Request", "Response", "Right", "Server", "Stream", "Surface", "sign"]


def sign(id_or_ids: str | Iterable[str], rights: Right = "watch", ttl: float = TOKEN_SECONDS) -> str:
    """
    Return a key that a page may hold: for one job or up to 100, to watch or also to cancel, for `ttl` seconds.

    It is signed with the secret key of the default kit. A key for several jobs is as good as several keys: what it
    opens is named by the jobs' ids. Raises ConfigurationError where there is no secret key.
    """
    return Surface().sign(id_or_ids, rights, ttl)
