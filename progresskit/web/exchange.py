"""What all handlers share: one request, the kit that answers it, and whom its keys let in."""

from __future__ import annotations

import math
from time import time
from typing import TYPE_CHECKING, NamedTuple

from progresskit.errors import InvalidId
from progresskit.progress import check_id

from . import tokens
from .clients import client
from .headers import prefers_html
from .tokens import Grant, Right
from .users import is_signed_in, owner_only, owns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from progresskit.config import Settings
    from progresskit.kit import Kit

    from .budget import Budget
    from .calls import Calls
    from .http import Request
    from .recent import Recent
    from .routes import Query
    from .telling import Shown

_NOT_KEYS = frozenset(("events", "ws"))


class Jobs(NamedTuple):
    """
    The jobs that a request is about.

    `names` gives for each name, as the answer has it, the id, or None for a key that opens nothing. `single` is about
    the form of the answer: one record, or one per name. `user` is who asks, where a key had to be told.
    """

    names: Mapping[str, str | None]
    single: bool
    expires: float = math.inf
    user: str | None = None

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
    recent: Recent

    @property
    def settings(self) -> Settings:
        """Of the kit."""
        return self.kit.settings

    @property
    def stream_limit(self) -> int:
        """How many streams and long polls the process may hold."""
        limit = self.settings.max_streams
        return self.request.server.value if limit is None else limit

    def client(self, user: str | None = None) -> str | None:
        """Return for whom a place is taken: the user who asks, if that is known, or else who is at the address."""
        if user is not None:
            return f"user {user}"
        return client(self.request.peer, self.request.headers, self.settings.proxies)

    def take_place(self, client: str | None) -> bool:
        """Take a place for a stream or a long poll, which is to be given back to the budget; False if there is none."""
        return self.budget.take(self.stream_limit, client, self.settings.client_streams)

    def pass_place(self, client: str | None, to: str | None) -> bool:
        """Have a place that was taken for one client be another's; False, and as it was, if that one has its share."""
        return self.budget.pass_on(client, to, self.settings.client_streams)

    @property
    def html(self) -> bool:
        """Whether the answer to a plain request is HTML."""
        return self.query.form == "html" or (self.query.form is None and prefers_html(self.request.headers))

    def text(self, shown: Shown, html: bool = False) -> str:
        """Return the record as a browser may see it."""
        return shown.text(html, self.settings.expose_errors)

    async def look(self, ids: Collection[str]) -> dict[str, Shown]:
        """Return the newest of those jobs that are known, from memory where that is as good."""
        known = self.recent.known(ids)
        if len(known) < len(ids):
            known |= await self.read([id for id in ids if id not in known])
        return known

    async def read(self, ids: Collection[str]) -> dict[str, Shown]:
        """Return what the backend has of those jobs."""
        begun = self.recent.now()
        return self.recent.keep(ids, await self.calls.get_many(ids), begun)

    async def open(self, key: str, right: Right = "watch") -> Jobs | None:
        """Return the one job that a key opens, or the several of its token by their ids; None if it opens nothing."""
        return await self._open(key, right, await self._owned((key,), right))

    async def _open(self, key: str, right: Right, owned: Mapping[str, Shown]) -> Jobs | None:
        grant = await self._grant(key, right, owned)
        if grant is None:
            return None
        if len(grant.ids) == 1:
            return Jobs({key: grant.ids[0]}, True, grant.expires, grant.user)
        return Jobs({id: id for id in grant.ids}, False, grant.expires, grant.user)

    async def open_all(self) -> Jobs | None:
        """
        Return the jobs of the query's keys, each named by its key, those of a token for several by their ids.

        None where the query names none, or too many.
        """
        keys = self.query.keys
        if not 0 < len(keys) <= tokens.MOST_IDS:
            return None
        names: dict[str, str | None] = {}
        expires, user = math.inf, None
        owned = await self._owned(keys, "watch")
        for key in keys:
            jobs = await self._open(key, "watch", owned)
            names |= {key: None} if jobs is None else jobs.names
            if jobs is not None:
                expires, user = min(expires, jobs.expires), user or jobs.user
        return Jobs(names, False, expires, user) if len(names) <= tokens.MOST_IDS else None

    async def _owned(self, keys: Collection[str], right: Right) -> Mapping[str, Shown]:
        """Return what there is of jobs whose owners alone may, in one round trip; nothing where others decide."""
        if self.settings.authorize is not owner_only:
            return {}
        ids = [key for key in keys if _is_id(key)]
        return await (self.look(ids) if right == "watch" else self.read(ids))

    async def _grant(self, key: str, right: Right, owned: Mapping[str, Shown]) -> Grant | None:
        if key.startswith("~"):
            grant = tokens.read(self.settings.secret_key, key, time())
            if grant is None or not grant.allows(right):
                return None
            return grant if grant.user is None or await self._is_signed_in(grant.user) else None
        if not _is_id(key):
            return None
        if self.settings.open and right == "watch":
            return Grant((key,), right)
        if self.settings.authorize is owner_only:
            return await self._grant_to_owner(key, right, owned)
        return Grant((key,), right) if await self._is_permitted(key, right) else None

    async def _grant_to_owner(self, id: str, right: Right, owned: Mapping[str, Shown]) -> Grant | None:
        record = owned[id].record if id in owned else None
        if record is None or record.owner is None:
            return None
        is_owner = await self.calls.permit(owns, self.request.native, record, self.settings.user)
        return Grant((id,), right, user=record.owner) if is_owner else None

    async def _is_signed_in(self, name: str) -> bool:
        # A framework may have to ask its database, so it is asked as `authorize` is.
        return await self.calls.permit(is_signed_in, self.request.native, name, self.settings.user)

    async def _is_permitted(self, id: str, right: Right) -> bool:
        authorize = self.settings.authorize
        return authorize is not None and await self.calls.permit(authorize, self.request.native, id, right)


def _is_id(key: str) -> bool:
    """Tell whether a key may be a raw id: what has a dot is a file, as far as addresses go."""
    try:
        return key not in _NOT_KEYS and "." not in check_id(key)
    except InvalidId:
        return False
