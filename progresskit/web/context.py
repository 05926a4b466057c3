"""
The context of a request, shared by all handlers: its kit, its limits, and the jobs that its keys give access to.

A raw id, and a token that is bound to a user, are authorised for the run and the owner that the job had at that time.
The site is asked again before a record of another run or another owner is shown.
"""

from __future__ import annotations

import math
from functools import cache
from time import time
from typing import TYPE_CHECKING, NamedTuple

from progresskit.decoding import decode
from progresskit.errors import InvalidId
from progresskit.progress import Progress, State, Stored, Version, check_id, encode, moment

from . import tokens
from .headers import prefers_html
from .limiter import client
from .rendering import run_of
from .tokens import Grant, Right
from .users import ASKED, Question, owner_only, signed_in_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from progresskit.config import Settings
    from progresskit.kit import Kit

    from .calls import Calls
    from .limiter import ConnectionLimiter
    from .poll_cache import PollCache
    from .rendering import RenderedRecord, Run
    from .request import Request
    from .routes import Query

_NOT_IDS = frozenset(("events", "ws"))


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
        known = self.polls.fresh(ids)
        if len(known) < len(ids):
            known |= await self.read([id for id in ids if id not in known])
        return known

    async def read(self, ids: Collection[str]) -> dict[str, RenderedRecord]:
        """Return the records of those jobs in the backend."""
        return self.polls.keep(ids, await self.calls.get_many(ids))

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


class Permission(NamedTuple):
    """The jobs that a key gives access to, and the runs of each; None for a key that covers every run."""

    grant: Grant
    runs: dict[str, Run] | None = None


class Access:
    """
    Decides about the keys of one request, for one right.

    With a `record`, decides whether its run may be shown. The signed-in user is looked up once.
    """

    def __init__(self, context: RequestContext, right: Right, record: Progress | None = None) -> None:
        self._context, self._right, self._record = context, right, record
        self._owned: Mapping[str, Progress] = {}
        self._user: list[str | None] = []

    async def look_up(self, keys: Iterable[str]) -> None:
        """Find out in one round trip which jobs belong to the requesting user, where only owners have access."""
        if self._context.settings.authorize is not owner_only or self._is_open:
            return
        ids = {key for key in keys if _is_id(key)}
        if not ids:
            return
        user = await self._signed_in()
        if user is not None:
            self._owned = await self._jobs_of(user, ids)

    async def permission(self, key: str) -> Permission | None:
        """Return the permission of a key, None if it has none; call `look_up` with the key before."""
        if key.startswith("~"):
            return await self._of_token(key)
        if not _is_id(key):
            return None
        if self._is_open:
            return Permission(Grant((key,), self._right))
        if self._context.settings.authorize is owner_only:
            record = self._owned.get(key)
            if record is None:
                return None
            return Permission(Grant((key,), self._right, user=record.owner), {key: run_of(record)})
        return await self._of_site(key)

    @property
    def _is_open(self) -> bool:
        return self._context.settings.allow_anonymous and self._right == "watch"

    async def _of_token(self, token: str) -> Permission | None:
        grant = tokens.read(self._context.settings.secret_key, token, time())
        if grant is None or not grant.allows(self._right):
            return None
        if grant.user is None:
            return Permission(grant)
        known = self._known(grant.ids)
        return Permission(grant, known) if await self._signed_in() == grant.user else None

    async def _of_site(self, id: str) -> Permission | None:
        context, authorize = self._context, self._context.settings.authorize
        if authorize is None:
            return None
        # A record read before the site is asked existed when the site decided; one read later may not have existed.
        known = self._known((id,))
        question = Question(context.kit, id, self._record)
        ASKED.set(question)
        try:
            allowed = await context.calls.ask(authorize, context.request.native, id, self._right)
        finally:
            ASKED.set(None)
        if not allowed:
            return None
        runs = known if question.record is None else {id: run_of(question.record)}
        return Permission(Grant((id,), self._right), runs)

    async def _signed_in(self) -> str | None:
        # A framework may have to ask its database, so it is asked as `authorize` is.
        if not self._user:
            context = self._context
            self._user = [await context.calls.ask(signed_in_key, context.request.native, context.settings.user)]
        return self._user[0]

    async def _jobs_of(self, user: str, ids: Collection[str]) -> dict[str, Progress]:
        """
        Return those of the jobs that belong to the user.

        A record in memory saves the owner a read. Every other user costs a read and the decoding of a record, whether
        the job exists or not: otherwise the response time would reveal it.
        """
        if self._record is not None:
            return {self._record.id: self._record} if self._record.owner == user else {}
        known = self._context.polls.fresh(ids) if self._right == "watch" else {}
        owned = {id: rendered.record for id, rendered in known.items() if rendered.record.owner == user}
        rest = [id for id in ids if id not in owned]
        if rest:
            found = await self._context.calls.get_many(rest)
            for _ in range(len(rest) - len(found)):
                decode(_stored_example())
            theirs = {id: record for id, record in found.items() if record.owner == user}
            self._context.polls.keep(theirs, theirs)
            owned |= theirs
        return owned

    def _known(self, ids: Collection[str]) -> dict[str, Run]:
        if self._record is not None:
            return {self._record.id: run_of(self._record)}
        return {id: run_of(record) for id, record in self._context.polls.seen(ids).items()}


class Guard:
    """One key of a viewer, that opens its jobs for the runs that were known when it was asked about."""

    __slots__ = ("_context", "_key", "_right", "_runs", "_scope", "is_refused")

    def __init__(self, context: RequestContext, key: str, right: Right, runs: dict[str, Run]) -> None:
        self._context, self._key, self._right, self._runs = context, key, right, runs
        self._scope = context.calls.context()
        self.is_refused = False

    def allows(self, rendered: RenderedRecord) -> bool:
        """Return whether the key covers the run of the record, as far as it has been authorised."""
        return self._runs.get(rendered.record.id) == rendered.run and not self.is_refused

    def is_past(self, rendered: RenderedRecord) -> bool:
        """Return whether the record is of a run before the authorised one: a newer record is on its way."""
        run = self._runs.get(rendered.record.id)
        return run is not None and rendered.run.is_before(run)

    async def ask(self, rendered: RenderedRecord) -> bool:
        """Authorise the key again for the run of that record; once refused, the key gives no access."""
        record = rendered.record
        if not self.is_refused:
            calls = self._context.calls
            if await calls.within(self._scope, lambda: self._is_permitted(record)):
                self._runs[record.id] = rendered.run
            else:
                self.is_refused = True
        return not self.is_refused

    async def _is_permitted(self, record: Progress) -> bool:
        access = Access(self._context, self._right, record)
        await access.look_up((self._key,))
        permission = await access.permission(self._key)
        return permission is not None and record.id in permission.grant.ids


@cache
def _stored_example() -> Stored:
    """Return the record that is decoded instead of a job that does not exist."""
    begun = moment(0)
    record = Progress(
        id="example",
        state=State.RUNNING,
        version=Version(1, 1, 1),
        kind="site.tasks.example",
        total=100,
        unit="rows",
        description="An example",
        rate=1.0,
        eta=100.0,
        created_at=begun,
        started_at=begun,
        updated_at=begun,
        lease=30.0,
        owner="example",
    )
    return Stored(1, 1, 1, "example", State.RUNNING, encode(record))


def _is_id(key: str) -> bool:
    """Return whether a key may be a raw id: in an address, a name with a dot is a file."""
    try:
        return key not in _NOT_IDS and "." not in check_id(key)
    except InvalidId:
        return False
