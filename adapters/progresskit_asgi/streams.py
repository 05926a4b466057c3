"""Streams of Server-Sent Events: of one job, which is nearly all of them, or of many."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from progresskit.web import streams
from progresskit.web.telling import COMMENT, RETRY_MS, retry

from .lines import Line
from .messages import body

if TYPE_CHECKING:
    from collections.abc import Collection

    from progresskit.web import Stream
    from progresskit.web.access import Guard, Run

    from .messages import Message, Send, Told


class StreamLine(Line):
    """What all streams have in common: a beginning, comments while they are quiet, and an end."""

    __slots__ = ("_due", "_ending", "_expires", "_told_at")

    def __init__(self, stream: Stream, send: Send, *, stepped: bool) -> None:
        super().__init__(send, stream.jobs.ids, stepped=stepped)
        self._due: bytes | None = stream.telling.opening()
        self._ending = not self.ids
        self._expires = monotonic() + stream.jobs.expires - time()
        self._told_at = monotonic()

    def tick(self, now: float) -> None:
        """End what has expired, and let a quiet stream say that it is there."""
        if now >= self._expires:
            self.end()
        elif now - self._told_at >= streams.COMMENT_SECONDS and self._busy is None:
            self._due = COMMENT
            self.pump(now)

    def end(self) -> None:
        """End the stream, so that its browser comes again."""
        if not self.closed and not self._ending:
            self._ending = True
            self._due = (self._due or b"") + retry(RETRY_MS)
            self.pump(monotonic())

    def next(self, now: float) -> Message | None:
        """Take what is due, or else the news."""
        due = self._due
        if due is None:
            message = self._news()
        else:
            self._due, self.closed = None, self._ending
            message = body(due, more=not self.closed)
        if message is not None:
            self._told_at = now
        return message

    def _news(self) -> Message | None:
        raise NotImplementedError


class OneJob(StreamLine):
    """A stream of one job; its messages are those of all who watch it in the same form."""

    __slots__ = ("_form", "_guard", "_held", "_kept", "_run", "_seen")

    def __init__(self, stream: Stream, send: Send, *, stepped: bool) -> None:
        super().__init__(stream, send, stepped=stepped)
        self._form, self._seen = stream.telling.form, stream.telling.seen
        self._guard = next(iter(stream.jobs.guards.values()), None)
        self._run: Run | None = None  # that of the record that was told last
        self._kept: Told | None = None
        self._held: Told | None = None

    def keep(self, id: str, told: Told) -> None:
        """Keep the record."""
        self._kept = told

    @property
    def holds(self) -> bool:
        """True while the newest record is held back."""
        return self._held is not None

    async def recheck(self) -> Collection[str]:
        """Ask about the record that is held back; end the stream if it is refused."""
        guard, held = self._guard, self._held
        if guard is None or held is None:
            return ()
        if not await guard.ask(held):
            self._kept = self._held = None
            self.end()
        elif self._held is not None and guard.allows(self._held):  # another may have come meanwhile
            self._kept, self._held = self._kept or self._held, None
        return ()

    def _news(self) -> Message | None:
        told, self._kept = self._kept, None
        if told is None:
            return None
        # The records of one run have one object for it, so this tells nearly always.
        if self._guard is not None and told.run is not self._run and not self._may_see(self._guard, told):
            return None
        self._run = told.run
        self.closed = told.done
        if self._seen is not None and told.cursor == self._seen:
            return body(b"") if self.closed else None
        message = told.message(self._form)
        return message if self._stepped else dict(message)  # uvicorn leaves it as it is

    def _may_see(self, guard: Guard, told: Told) -> bool:
        if guard.allows(told):
            self._held = None
            return True
        if not guard.is_past(told):
            self._held = told
            self.on_held(self)
        return False


class ManyJobs(StreamLine):
    """A stream of several jobs, each told by its name."""

    __slots__ = ("_kept", "_telling")

    def __init__(self, stream: Stream, send: Send, *, stepped: bool) -> None:
        super().__init__(stream, send, stepped=stepped)
        self._telling = stream.telling
        self._kept: dict[str, Told] = {}

    def keep(self, id: str, told: Told) -> None:
        """Keep the record."""
        self._kept[id] = told

    @property
    def holds(self) -> bool:
        """True while a record is held back."""
        return bool(self._telling.held)

    async def recheck(self) -> Collection[str]:
        """Ask about a record that is held back; return the ids that no key opens any more."""
        gone = await self._telling.recheck()
        for id in gone:
            self._kept.pop(id, None)
        return gone

    def _news(self) -> Message | None:
        kept, self._kept = self._kept, {}
        data = self._telling.told(kept)
        if self._telling.held:
            self.on_held(self)
        self.closed = not (self._telling.unfinished or self._telling.held)
        return body(data, more=not self.closed) if data or self.closed else None


def stream_line(stream: Stream, send: Send, *, stepped: bool) -> StreamLine:
    """Return the line of a stream, which is not needed any more."""
    return (OneJob if stream.jobs.single else ManyJobs)(stream, send, stepped=stepped)
