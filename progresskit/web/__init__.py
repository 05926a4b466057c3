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
from .users import owner_only

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from progresskit.progress import JobId

__all__ = ["TOKEN_SECONDS", "Request", "Response", "Right", "Server", "Stream", "Surface", "owner_only", "sign"]


def sign(
    id_or_ids: JobId | Iterable[JobId], rights: Right = "watch", ttl: float = TOKEN_SECONDS, *, user: Any = None
) -> str:
    """
    Return a key that a page may hold: for one job or up to 100, to watch or also to cancel, for `ttl` seconds.

    It is signed with the secret key of the default kit. A key for several jobs is as good as several keys: what it
    opens is named by the jobs' ids. With a `user` (the framework's object, or its key) it opens nothing unless that
    user is signed in.

    Raises ConfigurationError where there is no secret key, InvalidId for what is no job id, and ValueError for no id or
    more than 100, for other rights, for a `ttl` that is not over 0 and finite, and for a user who is nobody.
    """
    return Surface().sign(id_or_ids, rights, ttl, user=user)
