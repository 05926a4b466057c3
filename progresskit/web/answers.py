"""The answers about a single job: each is made once for a record, and given to all who poll it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .http import Response, SharedHeaders, empty, respond

if TYPE_CHECKING:
    from .events import Form, RenderedRecord

RETRY_AFTER = "1"
"""Seconds between two polls of a job that is not done."""

HEADERS: dict[str, str | None] = {"Vary": "Accept", "Cache_Control": "private, no-cache"}
"""Of all answers that show records."""


def tag(cursor: str, html: bool) -> str:
    """Return the tag of the JSON, which is not that of the HTML."""
    return f'"{cursor}.html"' if html else f'"{cursor}"'


def full(rendered: RenderedRecord, form: Form) -> Response:
    """Return the answer with the record in it."""
    answer = rendered.answers.get((200, form))
    if answer is None:
        content_type = "text/html; charset=utf-8" if form[0] else "application/json"
        body = rendered.text(*form).encode("utf-8", "replace")
        answer = _shared(respond(200, content_type, body, **_headers(rendered, form)))
        rendered.answers[200, form] = answer
    return answer


def not_modified(rendered: RenderedRecord, form: Form) -> Response:
    """Return the answer to those who have the record."""
    answer = rendered.answers.get((304, form))
    if answer is None:
        answer = rendered.answers[304, form] = _shared(empty(304, **_headers(rendered, form)))
    return answer


def _headers(rendered: RenderedRecord, form: Form) -> dict[str, str | None]:
    return HEADERS | {
        "ETag": tag(rendered.cursor, form[0]),
        "Retry_After": None if rendered.done else RETRY_AFTER,
    }


def _shared(response: Response) -> Response:
    return response._replace(headers=SharedHeaders(response.headers))
