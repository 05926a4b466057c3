"""Records as they are: one or many, at once or held until there is news; and the request to cancel."""

from __future__ import annotations

import json
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING

from .answers import HEADERS, RETRY_AFTER, full, not_modified, tag
from .events import RenderedRecord
from .headers import none_match, same_origin, wait_seconds
from .http import Server, empty, problem, refused, respond, unknown
from .tokens import MAX_IDS

if TYPE_CHECKING:
    from .context import Jobs, RequestContext
    from .events import Form
    from .http import Headers, Response

    Found = dict[str, RenderedRecord]

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
    """Return the tag of the JSON, or that of the HTML; None where a single job is not known."""
    if jobs.single:
        return tag(next(iter(found.values())).cursor, context.html) if found else None
    return _etag_of_many(context, jobs, found)


def _etag_of_many(context: RequestContext, jobs: Jobs, found: Found) -> str:
    cursors = [name + (f" {found[id].cursor}" if id in found else "") for name, id in jobs.names.items()]
    return tag(sha256("\n".join(cursors).encode("utf-8", "replace")).hexdigest()[:32], context.html)


def _answer(context: RequestContext, jobs: Jobs, found: Found, applied: str | None) -> Response:
    if jobs.are_refused:
        return refused()
    if not jobs.single:
        return _answer_of_many(context, jobs, found, applied)
    if not found:
        return unknown(RETRY_AFTER, **HEADERS, Preference_Applied=applied)
    (rendered,) = found.values()
    response = answer_single(context.request.headers, rendered, (context.html, context.settings.expose_errors))
    if applied is None:
        return response
    return response._replace(headers={**response.headers, "Preference-Applied": applied})


def answer_single(headers: Headers, rendered: RenderedRecord, form: Form) -> Response:
    """Answer with one record, or that the client has it already."""
    is_seen = none_match(headers, tag(rendered.cursor, html=form[0]))
    return (not_modified if is_seen else full)(rendered, form)


def _answer_of_many(context: RequestContext, jobs: Jobs, found: Found, applied: str | None) -> Response:
    etag = _etag_of_many(context, jobs, found)
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
