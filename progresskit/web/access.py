"""
Authorisation of the keys of a request, and of the runs of a job that it covers.

A raw id, and a token that is bound to a user, are authorised for the run and the owner that the job had at that time.
The site is asked again before a record of another run or another owner is shown.
"""

from __future__ import annotations

from functools import cache
from time import time
from typing import TYPE_CHECKING, NamedTuple

from progresskit.decoding import decode
from progresskit.errors import InvalidId
from progresskit.progress import Progress, State, Stored, Version, check_id, encode, life_of, moment

from . import tokens
from .tokens import Grant, Right
from .users import ASKED, Question, owner_only, signed_in_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from progresskit.config import Settings

    from .context import RequestContext
    from .events import RenderedRecord

UNKNOWN_LIFE = life_of(0)

_NOT_IDS = frozenset(("events", "ws"))


class Run(NamedTuple):
    """The scope of an authorisation: one run of a job, and its owner."""

    life: str
    number: int
    owner: str | None

    def is_before(self, other: Run) -> bool:
        """Return whether the job had this run before the other one; runs of two lives of an id have no order."""
        return self.life == other.life != UNKNOWN_LIFE and self.number < other.number


def run_of(record: Progress, known: Run | None = None) -> Run:
    """Return the run and the owner for which an authorisation of the record holds; `known` itself where it is that."""
    run = record.life, record.version[0], record.owner
    return known if run == known else Run(*run)


class Permission(NamedTuple):
    """The jobs that a key gives access to, and the runs of each; None for a key that covers every run."""

    grant: Grant
    runs: dict[str, Run] | None = None


def watched_by_key(settings: Settings, key: str) -> str | None:
    """
    Return the job that a key lets anyone watch who sends it, in all its runs.

    None for every other key: of several jobs, bound to a user, of a site that authorises, or refused. `Access` decides
    about those.
    """
    if not key.startswith("~"):
        return key if settings.allow_anonymous and _is_id(key) else None
    grant = tokens.read(settings.secret_key, key, time())
    if grant is None or grant.user is not None or len(grant.ids) != 1 or not grant.allows("watch"):
        return None
    return grant.ids[0]


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
        known = self._context.polls.current(ids) if self._right == "watch" else {}
        owned = {id: record for id, record in known.items() if record.owner == user}
        rest = [id for id in ids if id not in owned]
        if rest:
            begun = self._context.polls.now()
            found = await self._context.calls.get_many(rest)
            for _ in range(len(rest) - len(found)):
                decode(_stored_example())
            theirs = {id: record for id, record in found.items() if record.owner == user}
            self._context.polls.keep(theirs, theirs, begun)
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
