"""What all handlers share: one request, the kit that answers it, and whom its keys let in."""

from __future__ import annotations

import math
from time import time
from typing import TYPE_CHECKING, NamedTuple

from progresskit.errors import InvalidId
from progresskit.progress import check_id

from . import tokens
from .headers import prefers_html
from .tokens import Grant, Right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from progresskit.config import Settings
    from progresskit.kit import Kit
    from progresskit.progress import Progress

    from .budget import Budget
    from .calls import Calls
    from .http import Request
    from .routes import Query

_NOT_KEYS = frozenset(("events", "ws"))


class Jobs(NamedTuple):
    """
    The jobs that a request is about.

    `names` gives for each name, as the answer has it, the id, or None for a key that opens nothing. `single` is about
    the form of the answer: one record, or one per name.
    """

    names: Mapping[str, str | None]
    single: bool
    expires: float = math.inf

    @property
    def ids(self) -> list[str]:
        """The ids, each once."""
        return list(dict.fromkeys(id for id in self.names.values() if id is not None))


class Exchange(NamedTuple):
    """One request on its way to an answer."""

    request: Request
    query: Query
    kit: Kit
    calls: Calls
    budget: Budget

    @property
    def settings(self) -> Settings:
        """Of the kit."""
        return self.kit.settings

    @property
    def stream_limit(self) -> int:
        """How many streams and long polls the process may hold."""
        limit = self.settings.max_streams
        return self.request.server.value if limit is None else limit

    @property
    def html(self) -> bool:
        """Whether the answer to a plain request is HTML."""
        return self.query.form == "html" or (self.query.form is None and prefers_html(self.request.headers))

    def shown(self, record: Progress) -> Progress:
        """Return the record as a browser may see it."""
        return record if self.settings.expose_errors else record.redacted()

    async def open(self, key: str, right: Right = "watch") -> Jobs | None:
        """Return the one job that a key opens, or the several of its token by their ids; None if it opens nothing."""
        grant = await self._grant(key, right)
        if grant is None:
            return None
        if len(grant.ids) == 1:
            return Jobs({key: grant.ids[0]}, True, grant.expires)
        return Jobs({id: id for id in grant.ids}, False, grant.expires)

    async def open_all(self) -> Jobs | None:
        """
        Return the jobs of the query's keys, each named by its key, those of a token for several by their ids.

        None where the query names none, or too many.
        """
        keys = self.query.keys
        if not 0 < len(keys) <= tokens.MOST_IDS:
            return None
        names: dict[str, str | None] = {}
        expires = math.inf
        for key in keys:
            jobs = await self.open(key)
            names |= {key: None} if jobs is None else jobs.names
            expires = min(expires, math.inf if jobs is None else jobs.expires)
        return Jobs(names, False, expires) if len(names) <= tokens.MOST_IDS else None

    async def _grant(self, key: str, right: Right) -> Grant | None:
        if key.startswith("~"):
            grant = tokens.read(self.settings.secret_key, key, time())
            return grant if grant is not None and grant.allows(right) else None
        return Grant((key,), right) if _is_id(key) and await self._is_permitted(key, right) else None

    async def _is_permitted(self, id: str, right: Right) -> bool:
        if self.settings.open and right == "watch":
            return True
        authorize = self.settings.authorize
        return authorize is not None and await self.calls.permit(authorize, self.request.native, id, right)


def _is_id(key: str) -> bool:
    """Tell whether a key may be a raw id: what has a dot is a file, as far as addresses go."""
    try:
        return key not in _NOT_KEYS and "." not in check_id(key)
    except InvalidId:
        return False
