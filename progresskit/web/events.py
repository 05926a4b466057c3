"""Server-Sent Events: records as events, and which jobs of a stream have had their final one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .rendering import DONE, event_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from progresskit.progress import Progress

    from .context import Guard, Jobs, RequestContext
    from .rendering import Form, RenderedRecord

RETRY_MS = 1_000
CROWDED_RETRY_MS = 2_000
"""How soon a browser reconnects where there was no place: it polls."""

COMMENT = b":\n\n"

END = "end"
"""The id of the last event of a stream of many jobs."""


class EventEncoder:
    """
    Encodes the events of one stream; `seen` is the cursor that the viewer sent when it connected.

    A record of another run or owner than the viewer was authorised for is kept in `held`, by its name in the stream,
    until `recheck` has asked the site.
    """

    __slots__ = ("_due", "_jobs", "form", "held", "is_refused", "seen", "unfinished")

    def __init__(self, context: RequestContext, jobs: Jobs, seen: str | None) -> None:
        self.form: Form = (context.query.form == "html", context.settings.expose_errors)
        self._jobs, self.seen = jobs, seen
        self.unfinished = set(jobs.ids)
        """The ids of jobs whose final record was not sent yet."""
        self.held: dict[str, RenderedRecord] = {}
        self.is_refused = False
        """True once the key of a stream of one job was refused."""
        self._due: dict[str, RenderedRecord | None] = {}  # by name; None for one that is refused

    def opening(self, retry_ms: int = RETRY_MS) -> bytes:
        """Return the beginning: when to come back, which keys open nothing, and the end if there are no others."""
        events: list[tuple[str | None, str | None]] = []
        if not self.form[0]:
            events += [(named_record(name, "null"), None) for name, id in self._jobs.names.items() if id is None]
        return retry_event(retry_ms) + self._joined(events, ended=not self._jobs.ids)

    def encode(self, news: Mapping[str, RenderedRecord]) -> bytes:
        """Return the events of the records that the viewer has not seen and may see, those held until now too."""
        due = self._take(news)
        for rendered in due.values():
            if rendered is not None:
                self._mark(rendered.record)
        if self._jobs.single:
            return b"".join([self._encode_single(rendered) for rendered in due.values() if rendered is not None])
        return self._joined(self._encode_named(due), ended=bool(due) and not self.unfinished and not self.held)

    async def recheck(self) -> Collection[str]:
        """Ask about one of the records that are held back; return the ids that no name opens any more."""
        name, rendered = next(iter(self.held.items()))
        guard = self._jobs.guards[name]
        if not await guard.ask(rendered):
            return self._refuse(guard)
        newest = self.held.get(name)  # another may have come meanwhile
        if newest is not None and guard.allows(newest):
            self._due[name] = self.held.pop(name)
        return ()

    def _refuse(self, guard: Guard) -> Collection[str]:
        """Send no more for the names of a key, but once that they open nothing."""
        before = self._jobs
        self._jobs = before.without(guard)
        for name in before.guards.keys() - self._jobs.guards.keys():
            self.held.pop(name, None)
            self._due[name] = None
        self.is_refused = self._jobs.single
        gone = set(before.ids).difference(self._jobs.ids)
        self.unfinished -= gone
        return gone

    def _take(self, news: Mapping[str, RenderedRecord]) -> dict[str, RenderedRecord | None]:
        """Return the records that are due, by name: those held back until now, and the new ones that may be shown."""
        due, self._due = self._due, {}
        for id, rendered in news.items():
            for name, named in self._jobs.names.items():
                if named == id and self._may_see(name, rendered):
                    due[name] = rendered
        return due

    def _may_see(self, name: str, rendered: RenderedRecord) -> bool:
        guard = self._jobs.guards.get(name)
        if guard is None or guard.allows(rendered):
            self.held.pop(name, None)
            return True
        if not guard.is_past(rendered):
            self.held[name] = rendered
        return False

    def _mark(self, record: Progress) -> None:
        (self.unfinished.discard if record.done else self.unfinished.add)(record.id)

    def _encode_single(self, rendered: RenderedRecord) -> bytes:
        return b"" if rendered.cursor == self.seen else rendered.event(*self.form)

    def _encode_named(self, due: Mapping[str, RenderedRecord | None]) -> list[tuple[str | None, str | None]]:
        if self.form[0]:
            by_id = {rendered.record.id: rendered for rendered in due.values() if rendered is not None}
            return [(rendered.text(*self.form), None) for rendered in by_id.values()]
        return [
            (named_record(name, "null" if rendered is None else rendered.text(*self.form)), None)
            for name, rendered in due.items()
        ]

    def _joined(self, events: list[tuple[str | None, str | None]], ended: bool) -> bytes:
        """Return the events, the last one with the id of the end where that is reached."""
        if ended and not self._jobs.single:
            events[-1:] = [(events[-1][0] if events else None, END)]
        body = "".join(event_of(data, id) for data, id in events).encode("utf-8", "replace")
        return body + DONE if ended and self.form[0] else body


def retry_event(milliseconds: int = RETRY_MS) -> bytes:
    """Return the event that sets after how many milliseconds a browser reconnects."""
    return f"retry: {milliseconds}\n\n".encode()


def named_record(name: str, record: str) -> str:
    """Return one of several jobs as JSON: its name in the stream, and its record, which is JSON already."""
    return f'{{"key":{json.dumps(name)},"job":{record}}}'
