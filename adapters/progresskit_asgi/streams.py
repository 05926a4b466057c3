"""Streams of Server-Sent Events: of one job, which is nearly all of them, or of many."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from progresskit.web import COMMENT, Stream, retry_event

from .connections import Connection
from .messages import body

if TYPE_CHECKING:
    from collections.abc import Collection

    from progresskit.web import Guard, Run

    from .messages import FanoutRecord, Message, Send


class StreamConnection(Connection):
    """The base of all streams: a beginning, comments while they are quiet, and an end."""

    __slots__ = ("_due", "_ending", "_expires", "_sent_at")

    def __init__(self, stream: Stream, send: Send, *, stepped: bool) -> None:
        super().__init__(send, stream.jobs.ids, stepped=stepped)
        self._due: bytes | None = stream.encoder.opening()
        self._ending = not self.ids
        self._expires = monotonic() + stream.jobs.expires - time()
        self._sent_at = monotonic()

    def tick(self, now: float) -> None:
        """End an expired stream, and send a comment on a quiet one."""
        if now >= self._expires:
            self.end()
        elif now - self._sent_at >= Stream.comment_seconds and self._busy is None:
            self._due = COMMENT
            self.flush(now)

    def end(self) -> None:
        """End the stream, so that its browser comes again."""
        if not self.closed and not self._ending:
            self._ending = True
            self._due = (self._due or b"") + retry_event()
            self.flush(monotonic())

    def next(self, now: float) -> Message | None:
        """Take a message that is due, or else the newest records."""
        due = self._due
        if due is None:
            message = self._news()
        else:
            self._due, self.closed = None, self._ending
            message = body(due, more=not self.closed)
        if message is not None:
            self._sent_at = now
        return message

    def _news(self) -> Message | None:
        raise NotImplementedError


class OneJob(StreamConnection):
    """A stream of one job; all streams of the job in the same form share the messages."""

    __slots__ = ("_form", "_guard", "_held", "_kept", "_run", "_seen")

    def __init__(self, stream: Stream, send: Send, *, stepped: bool) -> None:
        super().__init__(stream, send, stepped=stepped)
        self._form, self._seen = stream.encoder.form, stream.encoder.seen
        self._guard = next(iter(stream.jobs.guards.values()), None)
        self._run: Run | None = None  # that of the record that was sent last
        self._kept: FanoutRecord | None = None
        self._held: FanoutRecord | None = None

    def keep(self, id: str, rendered: FanoutRecord) -> None:
        """Keep the record, and render it unless a newer one may come before this is sent."""
        self._kept = rendered
        if self._busy is None:
            rendered.message(self._form)

    @property
    def is_drained(self) -> bool:
        """True while there is nothing to send."""
        return self._kept is None and self._due is None

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
        rendered, self._kept = self._kept, None
        if rendered is None:
            return None
        # Records of the same run share one object, so this comparison nearly always suffices.
        if self._guard is not None and rendered.run is not self._run and not self._may_see(self._guard, rendered):
            return None
        self._run = rendered.run
        self.closed = rendered.done
        if self._seen is not None and rendered.cursor == self._seen:
            return body(b"") if self.closed else None
        message = rendered.message(self._form)
        return message if self._stepped else dict(message)  # uvicorn leaves it as it is

    def _may_see(self, guard: Guard, rendered: FanoutRecord) -> bool:
        if guard.allows(rendered):
            self._held = None
            return True
        if not guard.is_past(rendered):
            self._held = rendered
            self.on_held(self)
        return False


class ManyJobs(StreamConnection):
    """A stream of several jobs, each sent by its name."""

    __slots__ = ("_encoder", "_kept")

    def __init__(self, stream: Stream, send: Send, *, stepped: bool) -> None:
        super().__init__(stream, send, stepped=stepped)
        self._encoder = stream.encoder
        self._kept: dict[str, FanoutRecord] = {}

    def keep(self, id: str, rendered: FanoutRecord) -> None:
        """Keep the record."""
        self._kept[id] = rendered

    @property
    def holds(self) -> bool:
        """True while a record is held back."""
        return bool(self._encoder.held)

    async def recheck(self) -> Collection[str]:
        """Ask about a record that is held back; return the ids that no key opens any more."""
        gone = await self._encoder.recheck()
        for id in gone:
            self._kept.pop(id, None)
        return gone

    def _news(self) -> Message | None:
        kept, self._kept = self._kept, {}
        data = self._encoder.encode(kept)
        if self._encoder.held:
            self.on_held(self)
        self.closed = not (self._encoder.unfinished or self._encoder.held)
        return body(data, more=not self.closed) if data or self.closed else None


def stream_connection(stream: Stream, send: Send, *, stepped: bool) -> StreamConnection:
    """Return the connection of a stream; the stream itself is not needed any more."""
    return (OneJob if stream.jobs.single else ManyJobs)(stream, send, stepped=stepped)
