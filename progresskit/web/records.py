"""Records: one or many, at once, held until there is news, or as a stream; and the request to cancel."""

from __future__ import annotations

import json
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING

from .events import END
from .headers import none_match, same_origin, wait_seconds
from .http import RETRY_AFTER, Response, empty, problem, refused, respond, unknown
from .rendering import RenderedRecord
from .request import Server
from .streams import Stream
from .tokens import MAX_IDS

if TYPE_CHECKING:
    from .context import Jobs, RequestContext

    Found = dict[str, RenderedRecord]

HEADERS: dict[str, str | None] = {"Vary": "Accept", "Cache_Control": "private, no-cache"}
"""Of all answers that show records."""

STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    # What has an encoding is not compressed on its way (Django's GZipMiddleware, nginx), and so not held back either.
    "Content-Encoding": "identity",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}

LONGEST_WAIT = 25
"""Seconds: shorter than the half minute after which many proxies give up."""


async def record(context: RequestContext, key: str) -> Response:
    """Answer `GET KEY/`."""
    jobs = await context.open(key)
    return refused() if jobs is None else await _show(context, jobs)


async def records(context: RequestContext) -> Response:
    """Answer `GET ?key=A&key=B`."""
    jobs = await context.open_all()
    if jobs is None:
        return bad_keys()
    return await _show(context, jobs)


async def stream(context: RequestContext, key: str) -> Response:
    """Answer `GET KEY/events/`."""
    jobs = await context.open(key)
    if jobs is None:
        return refused()
    return await _open(context, jobs)


async def streams(context: RequestContext) -> Response:
    """Answer `GET events/?key=A&key=B`."""
    jobs = await context.open_all()
    if jobs is None:
        return bad_keys()
    return await _open(context, jobs)


async def _open(context: RequestContext, jobs: Jobs) -> Response:
    seen = context.request.headers.get("last-event-id") or context.query.last_event_id
    if seen:
        if jobs.single:
            jobs, found = await context.admit(jobs, await context.look(jobs.ids))
            if jobs.are_refused:
                return refused()
            ended = any(rendered.done and rendered.cursor == seen for rendered in found.values())
        else:
            ended = seen == END
        if ended:
            return empty(204, Cache_Control="no-store")
    return Response(200, STREAM_HEADERS, Stream(context, jobs, seen))


async def cancel(context: RequestContext, key: str) -> Response:
    """Answer `POST KEY/cancel/`; a job that is done is shown as it is."""
    if not same_origin(context.request.headers):
        return problem(403, "Send this from a page of the same origin, or with the header X-Progresskit.")
    jobs = await context.open(key, "cancel")
    if jobs is None:
        return refused()
    for id in jobs.ids:
        await context.calls.cancel(id)
    jobs, found = await context.admit(jobs, await context.read(jobs.ids))
    if jobs.are_refused:
        return refused()  # another run has begun meanwhile
    if not found:
        return unknown(RETRY_AFTER)
    return respond(202, "application/json", as_json(context, jobs, found), Cache_Control="no-store")


def bad_keys() -> Response:
    """Answer for a request about many jobs that names none, or too many."""
    return problem(400, f"Give 1 to {MAX_IDS} parameters `key`, for {MAX_IDS} jobs at most.")


async def _show(context: RequestContext, jobs: Jobs) -> Response:
    jobs, found = await context.admit(jobs, await context.look(jobs.ids))
    wait = _wait_of(context)
    if wait and context.request.method == "GET" and _is_waited_for(context, jobs, found):
        held = await _hold(context, jobs, found, wait)
        if held is not None:
            return _answer(context, *held, f"wait={wait}")
    return _answer(context, jobs, found, None)


def _wait_of(context: RequestContext) -> int:
    """Return for how many seconds the request may be held."""
    wait = wait_seconds(context.request.headers)
    if wait and context.request.server is not Server.LOOP:
        wait = min(wait, int(context.settings.stream_seconds))
    return min(wait, LONGEST_WAIT)


async def _hold(context: RequestContext, jobs: Jobs, found: Found, wait: float) -> tuple[Jobs, Found] | None:
    """Wait until there is news and return it with the rest; None where there is no place to wait."""
    client = context.client(jobs.user)
    if not context.acquire(client):
        return None
    try:
        with context.kit.hub.view(jobs.ids) as viewer:
            end = monotonic() + wait
            while not viewer.closed and _is_waited_for(context, jobs, found) and (left := end - monotonic()) > 0:
                news = await context.calls.news(viewer, left)
                rendered = {id: RenderedRecord(record) for id, record in news.items()}
                jobs, found = await context.admit(jobs, found | rendered)
    finally:
        context.release(client)
    return jobs, found


def _is_waited_for(context: RequestContext, jobs: Jobs, found: Found) -> bool:
    return not jobs.are_refused and _is_old(context, jobs, found)


def _is_old(context: RequestContext, jobs: Jobs, found: Found) -> bool:
    """Return whether the client knows all this, and more may follow."""
    etag = _etag(context, jobs, found)
    if etag is None:
        return True
    return none_match(context.request.headers, etag) and not _are_done(jobs, found)


def _are_done(jobs: Jobs, found: Found) -> bool:
    return all(id in found and found[id].done for id in jobs.names.values() if id is not None)


def _etag(context: RequestContext, jobs: Jobs, found: Found) -> str | None:
    """Return the tag of the JSON, which is not that of the HTML; None where a single job is not known."""
    if jobs.single and not found:
        return None
    if jobs.single:
        cursor = next(iter(found.values())).cursor
    else:
        cursors = [name + (f" {found[id].cursor}" if id in found else "") for name, id in jobs.names.items()]
        cursor = sha256("\n".join(cursors).encode("utf-8", "replace")).hexdigest()[:32]
    return f'"{cursor}.html"' if context.html else f'"{cursor}"'


def _answer(context: RequestContext, jobs: Jobs, found: Found, applied: str | None) -> Response:
    """Answer with the records, or that the client has them already."""
    if jobs.are_refused:
        return refused()
    etag = _etag(context, jobs, found)
    if etag is None:
        return unknown(RETRY_AFTER, **HEADERS, Preference_Applied=applied)
    retry_after = None if _are_done(jobs, found) else RETRY_AFTER
    headers = HEADERS | {"ETag": etag, "Retry_After": retry_after, "Preference_Applied": applied}
    if none_match(context.request.headers, etag):
        return empty(304, **headers)
    if context.html:
        return respond(200, "text/html; charset=utf-8", _as_html(context, jobs, found), **headers)
    return respond(200, "application/json", as_json(context, jobs, found), **headers)


def as_json(context: RequestContext, jobs: Jobs, found: Found) -> bytes:
    """Return the record, or `{"jobs": {name: record or null}}`."""
    if jobs.single:
        (id,) = found
        return context.text(found[id]).encode("utf-8", "replace")
    records = [
        f"{json.dumps(name)}:{context.text(found[id]) if id in found else 'null'}" for name, id in jobs.names.items()
    ]
    return f'{{"jobs":{{{",".join(records)}}}}}'.encode("utf-8", "replace")


def _as_html(context: RequestContext, jobs: Jobs, found: Found) -> bytes:
    fragments = [context.text(found[id], html=True) for id in jobs.ids if id in found]
    return "\n".join(fragments).encode("utf-8", "replace")
