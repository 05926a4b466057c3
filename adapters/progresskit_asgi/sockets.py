"""WebSocket: a page says which keys it watches, and may change its mind."""

from __future__ import annotations

import json
from collections import deque
from itertools import chain
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from progresskit.web import MAX_IDS, foreign_origin, named_record

from .connections import Connection, race

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from progresskit.web import Guard, Jobs, RequestContext

    from .fanout import Fanout
    from .messages import FanoutRecord, Message, Receive, Send

    _Name = tuple[str, str]
    """A key, and one of the names of its jobs."""

FRAME_BYTES = 65_536
"""The longest message that a client may send: enough for a hundred keys of one job each."""

MOST_NAMES = 500
"""Limit of jobs on one connection; a job of two keys counts twice."""

REFUSED_BYTES = 4 * FRAME_BYTES
"""So much of refused keys waits for a client to read that they are; past it the connection is closed."""

GOING_AWAY, NOT_TEXT, UNREADABLE, REFUSED, TOO_BIG, CROWDED = 1001, 1003, 1007, 1008, 1009, 1013
"""Close codes (RFC 6455, section 7.4.1; 1013 is IANA's "try again later")."""


_NOTHING = "null"
"""The record that is sent for a refused key."""


class Socket:
    """One connection from its opening to its end."""

    def __init__(self, context: RequestContext, fanout: Callable[[], Fanout], receive: Receive, send: Send) -> None:
        self._context, self._open_fanout = context, fanout
        self._receive, self._send = receive, send
        self._connection = SocketConnection(context.settings.expose_errors, send)
        self._client = context.client()
        self._user: str | None = None

    async def run(self) -> None:
        """Accept it, unless it comes from a page of another site, and serve it if there is a place."""
        await self._receive()
        if foreign_origin(self._context.request.headers):
            await self._send({"type": "websocket.close", "code": REFUSED})
            return
        await self._send({"type": "websocket.accept"})
        if not self._context.acquire(self._client):
            await self._send({"type": "websocket.close", "code": CROWDED})
            return
        self._fanout = self._open_fanout()
        try:
            self._fanout.join(self._connection)
            await race(self._connection.sending(), self._listen())
        finally:
            self._fanout.leave(self._connection)
            self._context.release(self._client)

    async def _listen(self) -> None:
        code: int | None = None
        while (message := await self._receive())["type"] == "websocket.receive":
            if code is None:  # once it is to be closed, it is only waited for that
                code = await self._handle(message)
                if code is not None:
                    self._connection.end(code)

    async def _handle(self, message: Mapping[str, Any]) -> int | None:
        """Handle a message of the page; return the code to close with if the message is malformed."""
        text = message.get("text")
        if text is None:
            return NOT_TEXT
        if len(text) > FRAME_BYTES:
            return TOO_BIG
        asked = _read(text)
        if asked is None:
            return UNREADABLE
        watch, unwatch = asked
        for key in unwatch:
            self._fanout.drop(self._connection, self._connection.forget(key))
        for key in watch:
            code = await self._watch(key)
            if code is not None:
                return code
        return None

    async def _watch(self, key: str) -> int | None:
        jobs = await self._context.open(key)
        if self._connection.room < (1 if jobs is None else len(jobs.names)):
            return REFUSED
        if jobs is None:
            self._fanout.drop(self._connection, self._connection.forget(key))  # its jobs from an earlier `watch`
            return None if self._connection.refuse(key) else REFUSED
        elif not self._is_of(jobs.user):
            return CROWDED
        else:
            self._fanout.add(self._connection, self._connection.learn(key, jobs))
        return None

    def _is_of(self, user: str | None) -> bool:
        """Count for the user of the first key that is one's; return False where that one has a share already."""
        if user is None or self._user is not None:
            return True
        client = self._context.client(user)
        if not self._context.transfer(self._client, client):
            return False
        self._client, self._user = client, user
        return True


class SocketConnection(Connection):
    """Sends each record as one message, `{"key": …, "job": record}`; null for a refused key."""

    __slots__ = ("_closing", "_due", "_exposed", "_held", "_jobs", "_kept", "_texts")

    def __init__(self, exposed: bool, send: Send) -> None:
        super().__init__(send, (), stepped=False)
        self._exposed = exposed
        self._jobs: dict[str, Jobs] = {}
        self._kept: dict[str, FanoutRecord] = {}
        self._held: dict[_Name, FanoutRecord] = {}
        self._due: dict[_Name, FanoutRecord] = {}  # records that were held back until now
        self._texts: deque[tuple[str, str]] = deque()  # names, and records as JSON
        self._closing: int | None = None

    @property
    def room(self) -> int:
        """How many more names it may take; messages that the reader has not taken yet count too."""
        return MOST_NAMES - sum(len(jobs.names) for jobs in self._jobs.values()) - len(self._texts)

    def learn(self, key: str, jobs: Jobs) -> list[str]:
        """Add the jobs of a key, until it expires; return their ids."""
        self._let_go(key)
        self._jobs[key] = jobs
        self.ids = self._opened()
        return jobs.ids

    def forget(self, key: str) -> list[str]:
        """Drop the jobs of a key; return the ids that no other key covers."""
        jobs = self._jobs.pop(key, None)
        self._let_go(key)
        self.ids = self._opened()
        gone = [] if jobs is None else [id for id in jobs.ids if id not in self.ids]
        for id in gone:
            self._kept.pop(id, None)
        return gone

    def refuse(self, key: str) -> bool:
        """Send a refusal of a key, and return True; return False if too many refusals are not read yet."""
        waiting = [name for name, text in self._texts if text == _NOTHING]
        if sum(len(name.encode("utf-8", "replace")) for name in (*waiting, key)) > REFUSED_BYTES:
            return False
        self._texts.append((key, _NOTHING))
        self.flush(monotonic())
        return True

    def keep(self, id: str, rendered: FanoutRecord) -> None:
        """Keep the record."""
        self._kept[id] = rendered

    def next(self, now: float) -> Message | None:
        """Take the message of the next name, or the end."""
        if self._closing is not None:
            self.closed = True
            return {"type": "websocket.close", "code": self._closing}
        while not self._texts and (self._due or self._kept):
            if self._due:
                (_, name), rendered = self._due.popitem()
                self._texts.append((name, rendered.text(False, self._exposed)))
            else:
                self._put(self._kept.pop(next(iter(self._kept))))
        return {"type": "websocket.send", "text": named_record(*self._texts.popleft())} if self._texts else None

    def tick(self, now: float) -> None:
        """Close the connection when the first of its keys has expired: the page has to come with another."""
        if any(time() >= jobs.expires for jobs in self._jobs.values()):
            self.end()

    def end(self, code: int = GOING_AWAY) -> None:
        """Close the connection; by the usual code the page connects again."""
        if self._closing is None:
            self._closing = code
            self.flush(monotonic())

    @property
    def holds(self) -> bool:
        """True while a record is held back."""
        return bool(self._held)

    async def recheck(self) -> Collection[str]:
        """Ask about a record that is held back; a refused key is sent as null, and its ids are returned."""
        place, rendered = next(iter(self._held.items()))
        key, name = place
        jobs = self._jobs[key]
        guard = jobs.guards[name]
        is_allowed = await guard.ask(rendered)
        if self._jobs.get(key) is not jobs:
            return ()  # it was given up, or asked about by a new message
        if not is_allowed:
            self._texts += [(refused, _NOTHING) for refused in jobs.names]
            return self.forget(key)
        newest = self._held.get(place)  # another may have come meanwhile
        if newest is not None and guard.allows(newest):
            self._due[place] = self._held.pop(place)
        return ()

    def _put(self, rendered: FanoutRecord) -> None:
        id, text = rendered.record.id, rendered.text(False, self._exposed)
        for key, jobs in self._jobs.items():
            self._texts += [
                (name, text)
                for name, named in jobs.names.items()
                if named == id and self._may_see((key, name), jobs.guards.get(name), rendered)
            ]
        if self._held:
            self.on_held(self)

    def _may_see(self, place: _Name, guard: Guard | None, rendered: FanoutRecord) -> bool:
        if guard is None or guard.allows(rendered):
            self._held.pop(place, None)
            self._due.pop(place, None)
            return True
        if not guard.is_past(rendered):
            self._held[place] = rendered
        return False

    def _let_go(self, key: str) -> None:
        """Drop the records that are held back from a key."""
        for kept in (self._held, self._due):
            for place in [place for place in kept if place[0] == key]:
                del kept[place]

    def _opened(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable(jobs.ids for jobs in self._jobs.values())))


def _read(text: str) -> tuple[list[str], list[str]] | None:
    """Return the keys to watch and those to watch no longer; None if the message is malformed."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not message.keys() <= {"watch", "unwatch"}:
        return None
    asked = message.get("watch", []), message.get("unwatch", [])
    if not all(isinstance(keys, list) and len(keys) <= MAX_IDS for keys in asked):
        return None
    if not all(isinstance(key, str) for keys in asked for key in keys):
        return None
    return asked
