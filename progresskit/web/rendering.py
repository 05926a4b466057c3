"""A record on its way to viewers: as JSON, as HTML and as an event, and the run that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from progresskit.progress import life_of

from .fragments import fragment

if TYPE_CHECKING:
    from progresskit.progress import Progress

UNKNOWN_LIFE = life_of(0)

Form = tuple[bool, bool]
"""Whether records are sent as HTML, and whether with messages of errors that are not for the public."""

DONE = b"event: done\ndata: -\n\n"
"""The last event of a stream of fragments: what swaps them in (htmx) cannot see that it was the last one."""


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


class RenderedRecord:
    """
    A record on its way to viewers: each form of it is rendered once, on demand, and shared by all viewers.

    `before` is the one that the same viewers have had before it, if any: while the run is the same, it is one object.
    """

    __slots__ = ("_events", "_texts", "cursor", "done", "record", "run")

    def __init__(self, record: Progress, before: RenderedRecord | None = None) -> None:
        self.record = record
        self.run: Run = run_of(record, None if before is None else before.run)
        self.cursor, self.done = record.cursor, record.done
        self._texts: dict[Form, str] = {}
        self._events: dict[Form, bytes] = {}

    def text(self, html: bool, exposed: bool) -> str:
        """Return the record as JSON or HTML, with or without the message of an error that is not for the public."""
        form = html, exposed
        text = self._texts.get(form)
        if text is None:
            text = self._texts[form] = self._render(form)
        return text

    def _render(self, form: Form) -> str:
        html, exposed = form
        record = self.record if exposed else self.record.redacted()
        return fragment(record) if html else record.to_json()

    def event(self, html: bool, exposed: bool) -> bytes:
        """Return the event of a stream that is about this job alone."""
        form = html, exposed
        event = self._events.get(form)
        if event is None:
            event = self._events[form] = self.encode_event(form)
        return event

    def encode_event(self, form: Form) -> bytes:
        """Return the event for a caller that keeps it; its text is not kept here, as most are sent to one viewer."""
        event = event_of(self._texts.get(form) or self._render(form), self.cursor).encode("utf-8", "replace")
        return event + DONE if form[0] and self.done else event


def event_of(data: str | None, id: str | None) -> str:
    """Return an event with that data and id, or the id alone."""
    # JSON and our HTML are one line each, so nothing has to be split.
    head = "" if id is None else f"id: {id}\n"
    return f"{head}\n" if data is None else f"{head}event: progress\ndata: {data}\n\n"
