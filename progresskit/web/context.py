"""The context of a request, shared by all handlers: its kit, its limits, and the jobs that its keys give access to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from . import tokens
from .access import Access, Guard
from .clients import client
from .headers import prefers_html

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from progresskit.config import Settings
    from progresskit.kit import Kit

    from .calls import Calls
    from .events import RenderedRecord
    from .http import Request
    from .limiter import ConnectionLimiter
    from .poll_cache import PollCache
    from .routes import Query
    from .tokens import Right


class Jobs(NamedTuple):
    """
    The jobs that a request is about.

    `names` maps each name of the answer to its id, or to None for a refused key. `single` selects the form of the
    answer: one record, or one per name. `user` is the key of the requesting user, where a key required it. `guards` has
    the names whose key covers only some runs of the job. With `of_one_key`, all names come from one key.
    """

    names: Mapping[str, str | None]
    single: bool
    expires: float = math.inf
    user: str | None = None
    guards: Mapping[str, Guard] = {}
    of_one_key: bool = False

    @property
    def ids(self) -> list[str]:
        """The ids, each once."""
        return list(dict.fromkeys(id for id in self.names.values() if id is not None))

    @property
    def are_refused(self) -> bool:
        """Whether the only key of the request is refused by now."""
        return self.of_one_key and all(id is None for id in self.names.values())

    def guarded(self, found: Mapping[str, RenderedRecord]) -> list[tuple[str, Guard, RenderedRecord]]:
        """Return the records that have a guard, with their names and guards."""
        ids = [(name, guard, self.names[name]) for name, guard in self.guards.items()]
        return [(name, guard, found[id]) for name, guard, id in ids if id is not None and id in found]

    def with_refused(self, key: str) -> Jobs:
        """Return these jobs and one refused key."""
        guards = {name: guard for name, guard in self.guards.items() if name != key}
        return self._replace(names={**self.names, key: None}, guards=guards)

    def with_jobs(self, other: Jobs) -> Jobs:
        """Return these and those of another key."""
        guards = {name: guard for name, guard in self.guards.items() if name not in other.names}
        return self._replace(
            names={**self.names, **other.names},
            expires=min(self.expires, other.expires),
            user=self.user or other.user,
            guards=guards | dict(other.guards),
        )

    def without(self, guard: Guard) -> Jobs:
        """Return these jobs after a key was refused: its names have no id any more."""
        refused = {name: None for name, guarded in self.guards.items() if guarded is guard}
        guards = {name: guarded for name, guarded in self.guards.items() if guarded is not guard}
        return self._replace(names={**self.names, **refused}, guards=guards)


class RequestContext(NamedTuple):
    """One request on its way to an answer."""

    request: Request
    query: Query
    kit: Kit
    calls: Calls
    limiter: ConnectionLimiter
    polls: PollCache
    settings: Settings

    @property
    def stream_limit(self) -> int:
        """How many streams and long polls the process may hold."""
        limit = self.settings.max_streams
        return self.request.server.value if limit is None else limit

    def client(self, user: str | None = None) -> str | None:
        """Return the client whose limit counts: the requesting user if known, else the address."""
        if user is not None:
            return f"user {user}"
        return client(self.request.peer, self.request.headers, self.settings.trusted_proxies)

    def acquire(self, client: str | None) -> bool:
        """Take a place for a connection, for `release`; return False at the limit of the process or of the client."""
        return self.limiter.acquire(self.stream_limit, client, self.settings.max_streams_per_client)

    def transfer(self, client: str | None, to: str | None) -> bool:
        """Move a connection from one client to another; return False, without a change, at the limit of the latter."""
        return self.limiter.transfer(client, to, self.settings.max_streams_per_client)

    def release(self, client: str | None) -> None:
        """Give a place back."""
        self.limiter.release(client)

    @property
    def html(self) -> bool:
        """Whether the answer to a plain request is HTML."""
        return self.query.form == "html" or (self.query.form is None and prefers_html(self.request.headers))

    def text(self, rendered: RenderedRecord, html: bool = False) -> str:
        """Return the record as a browser may see it."""
        return rendered.text(html, self.settings.expose_errors)

    async def look(self, ids: Collection[str]) -> dict[str, RenderedRecord]:
        """Return the newest of those jobs that are known, from memory where that is as good."""
        known = self.polls.known(ids)
        if len(known) < len(ids):
            known |= await self.read([id for id in ids if id not in known])
        return known

    async def read(self, ids: Collection[str]) -> dict[str, RenderedRecord]:
        """Return the records of those jobs in the backend."""
        begun = self.polls.now()
        return self.polls.keep(ids, await self.calls.get_many(ids), begun)

    async def admit(self, jobs: Jobs, found: dict[str, RenderedRecord]) -> tuple[Jobs, dict[str, RenderedRecord]]:
        """
        Authorise changed runs and owners again; return the jobs and the records that are still allowed.

        A record of a run or owner that has not been authorised is not shown before.
        """
        if not jobs.guards:
            return jobs, found
        past = {rendered.record.id for _, guard, rendered in jobs.guarded(found) if guard.is_past(rendered)}
        if past:
            found = {**found, **await self.read(past)}
        left = jobs
        for name, guard, rendered in jobs.guarded(found):
            if name in left.guards and not guard.allows(rendered) and not await guard.ask(rendered):
                left = left.without(guard)
        return left, {id: found[id] for id in left.ids if id in found}

    async def open(self, key: str, right: Right = "watch") -> Jobs | None:
        """Return the job that a key gives access to, or those of its token by their ids; None if it is refused."""
        access = Access(self, right)
        await access.look_up((key,))
        return await self._open(key, right, access, alone=True)

    async def _open(self, key: str, right: Right, access: Access, alone: bool = False) -> Jobs | None:
        permission = await access.permission(key)
        if permission is None:
            return None
        grant = permission.grant
        single = len(grant.ids) == 1
        names = {key: grant.ids[0]} if single else {id: id for id in grant.ids}
        runs = permission.runs
        guards = {} if runs is None else dict.fromkeys(names, Guard(self, key, right, runs))
        return Jobs(names, single, grant.expires, grant.user, guards, alone)

    async def open_all(self) -> Jobs | None:
        """
        Return the jobs of the query's keys, each named by its key, those of a token for several by their ids.

        None where the query names none, or too many.
        """
        keys = self.query.keys
        if not 0 < len(keys) <= tokens.MAX_IDS:
            return None
        access = Access(self, "watch")
        await access.look_up(keys)
        all = Jobs({}, False)
        for key in keys:
            jobs = await self._open(key, "watch", access)
            all = all.with_refused(key) if jobs is None else all.with_jobs(jobs)
        return all if len(all.names) <= tokens.MAX_IDS else None
