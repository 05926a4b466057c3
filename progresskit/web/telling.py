"""What a stream says: records as events, and which of its jobs are told to their end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .access import run_of
from .fragments import fragment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from progresskit.progress import Progress

    from .access import Guard
    from .exchange import Exchange, Jobs
    from .http import Response

RETRY_MS = 1_000
CROWDED_RETRY_MS = 2_000
"""So soon a browser comes back where there was no place: it polls."""

COMMENT = b":\n\n"

Form = tuple[bool, bool]
"""Whether records are told as HTML, and whether with messages of errors that are not for the public."""

END = "end"
"""The id after which a stream of many jobs has nothing more to tell."""

DONE = b"event: done\ndata: -\n\n"
"""The last event of a stream of fragments: what swaps them in (htmx) cannot see that it was the last one."""


class Shown:
    """A record on its way to viewers: each text is made once, when it is first asked for, and is shared by them all."""

    __slots__ = ("_events", "_texts", "answers", "record", "run")

    def __init__(self, record: Progress) -> None:
        self.record, self.run = record, run_of(record)
        self._texts: dict[Form, str] = {}
        self._events: dict[Form, bytes] = {}
        self.answers: dict[tuple[int, Form], Response] = {}
        """Those to requests about this job alone; see `progresskit.web.answers`."""

    def text(self, html: bool, exposed: bool) -> str:
        """Return the record as JSON or HTML, with or without the message of an error that is not for the public."""
        form = html, exposed
        text = self._texts.get(form)
        if text is None:
            record = self.record if exposed else self.record.redacted()
            text = self._texts[form] = fragment(record) if html else record.to_json()
        return text

    def event(self, html: bool, exposed: bool) -> bytes:
        """Return the event of a stream that is about this job alone."""
        form = html, exposed
        event = self._events.get(form)
        if event is None:
            event = _event(self.text(html, exposed), self.record.cursor).encode("utf-8", "replace")
            event = self._events[form] = event + DONE if html and self.record.done else event
        return event


class Telling:
    """
    One stream's side of it; `seen` is the cursor that the viewer had when it came.

    A record of another run or owner than the viewer was authorised for is kept in `held`, by the name it would be told
    by, until `recheck` has asked.
    """

    __slots__ = ("_due", "_jobs", "form", "held", "is_refused", "seen", "unfinished")

    def __init__(self, exchange: Exchange, jobs: Jobs, seen: str | None) -> None:
        self.form: Form = (exchange.query.form == "html", exchange.settings.expose_errors)
        self._jobs, self.seen = jobs, seen
        self.unfinished = set(jobs.ids)
        """The jobs that are not told to their end."""
        self.held: dict[str, Shown] = {}
        self.is_refused = False
        """True once the key of a stream of one job was refused."""
        self._due: dict[str, Shown | None] = {}  # by name; None for one that is refused

    def opening(self, retry_ms: int = RETRY_MS) -> bytes:
        """Return the beginning: when to come back, which keys open nothing, and the end if there are no others."""
        told: list[tuple[str | None, str | None]] = []
        if not self.form[0]:
            told += [(job_of(name, "null"), None) for name, id in self._jobs.names.items() if id is None]
        return retry(retry_ms) + self._joined(told, ended=not self._jobs.ids)

    def told(self, news: Mapping[str, Shown]) -> bytes:
        """Return the events of what the viewer has not seen and may see of those records, and of what was held back."""
        due = self._take(news)
        for shown in due.values():
            if shown is not None:
                self._mark(shown.record)
        if self._jobs.single:
            return b"".join([self._told_alone(shown) for shown in due.values() if shown is not None])
        return self._joined(self._told_among_others(due), ended=bool(due) and not self.unfinished and not self.held)

    async def recheck(self) -> Collection[str]:
        """Ask about one of the records that are held back; return the ids that no name opens any more."""
        name, shown = next(iter(self.held.items()))
        guard = self._jobs.guards[name]
        if not await guard.ask(shown):
            return self._refuse(guard)
        newest = self.held.get(name)  # another may have come meanwhile
        if newest is not None and guard.allows(newest):
            self._due[name] = self.held.pop(name)
        return ()

    def _refuse(self, guard: Guard) -> Collection[str]:
        """Tell no more by the names of a key; it is told once that they open nothing."""
        before = self._jobs
        self._jobs = before.without(guard)
        for name in before.guards.keys() - self._jobs.guards.keys():
            self.held.pop(name, None)
            self._due[name] = None
        self.is_refused = self._jobs.single
        gone = set(before.ids).difference(self._jobs.ids)
        self.unfinished -= gone
        return gone

    def _take(self, news: Mapping[str, Shown]) -> dict[str, Shown | None]:
        """Return what is due, by name: what was held back until now, and the news that may be told."""
        due, self._due = self._due, {}
        for id, shown in news.items():
            for name, named in self._jobs.names.items():
                if named == id and self._may_see(name, shown):
                    due[name] = shown
        return due

    def _may_see(self, name: str, shown: Shown) -> bool:
        guard = self._jobs.guards.get(name)
        if guard is None or guard.allows(shown):
            self.held.pop(name, None)
            return True
        if not guard.is_past(shown):
            self.held[name] = shown
        return False

    def _mark(self, record: Progress) -> None:
        (self.unfinished.discard if record.done else self.unfinished.add)(record.id)

    def _told_alone(self, shown: Shown) -> bytes:
        return b"" if shown.record.cursor == self.seen else shown.event(*self.form)

    def _told_among_others(self, due: Mapping[str, Shown | None]) -> list[tuple[str | None, str | None]]:
        if self.form[0]:
            by_id = {shown.record.id: shown for shown in due.values() if shown is not None}
            return [(shown.text(*self.form), None) for shown in by_id.values()]
        return [
            (job_of(name, "null" if shown is None else shown.text(*self.form)), None) for name, shown in due.items()
        ]

    def _joined(self, told: list[tuple[str | None, str | None]], ended: bool) -> bytes:
        """Return the events, the last one with the id of the end where that is reached."""
        if ended and not self._jobs.single:
            told[-1:] = [(told[-1][0] if told else None, END)]
        events = "".join(_event(data, id) for data, id in told).encode("utf-8", "replace")
        return events + DONE if ended and self.form[0] else events


def retry(milliseconds: int) -> bytes:
    """Return what tells a browser when to come back after the connection has closed."""
    return f"retry: {milliseconds}\n\n".encode()


def _event(data: str | None, id: str | None) -> str:
    # JSON and our HTML are one line each, so nothing has to be split.
    head = "" if id is None else f"id: {id}\n"
    return f"{head}\n" if data is None else f"{head}event: progress\ndata: {data}\n\n"


def job_of(name: str, record: str) -> str:
    """Return one of many jobs: the name it is told by, and its record as JSON."""
    return f'{{"key":{json.dumps(name)},"job":{record}}}'
