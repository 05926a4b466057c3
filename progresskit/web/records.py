"""Records as they are: one or many, at once or held until there is news; and the request to cancel."""

from __future__ import annotations

import json
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING

from .answers import HEADERS, RETRY_AFTER, full, not_modified, tag
from .headers import none_match, same_origin, wait_seconds
from .http import Server, empty, problem, refused, respond, unknown
from .telling import Shown
from .tokens import MOST_IDS

if TYPE_CHECKING:
    from .exchange import Exchange, Jobs
    from .http import Response

    Found = dict[str, Shown]

LONGEST_WAIT = 25
"""Seconds: shorter than the half minute after which many proxies give up."""


async def record(exchange: Exchange, key: str) -> Response:
    """Answer `GET KEY/`."""
    jobs = await exchange.open(key)
    return refused() if jobs is None else await _show(exchange, jobs)


async def records(exchange: Exchange) -> Response:
    """Answer `GET ?key=A&key=B`."""
    jobs = await exchange.open_all()
    if jobs is None:
        return bad_keys()
    return await _show(exchange, jobs)


async def cancel(exchange: Exchange, key: str) -> Response:
    """Answer `POST KEY/cancel/`; a job that is done is told as it is."""
    if not same_origin(exchange.request.headers):
        return problem(403, "Send this from a page of the same origin, or with the header X-Progresskit.")
    jobs = await exchange.open(key, "cancel")
    if jobs is None:
        return refused()
    for id in jobs.ids:
        await exchange.calls.cancel(id)
    jobs, found = await exchange.admit(jobs, await exchange.read(jobs.ids))
    if jobs.are_refused:
        return refused()  # another run has begun meanwhile
    if not found:
        return unknown(RETRY_AFTER)
    return respond(202, "application/json", as_json(exchange, jobs, found), Cache_Control="no-store")


def bad_keys() -> Response:
    """Answer for a request about many jobs that names none, or too many."""
    return problem(400, f"Give 1 to {MOST_IDS} parameters `key`, of {MOST_IDS} jobs at most.")


async def _show(exchange: Exchange, jobs: Jobs) -> Response:
    jobs, found = await exchange.admit(jobs, await exchange.look(jobs.ids))
    wait = min(wait_seconds(exchange.request.headers), LONGEST_WAIT)
    if exchange.request.server is not Server.LOOP:
        wait = min(wait, int(exchange.settings.stream_seconds))
    if wait and exchange.request.method == "GET" and _is_waited_for(exchange, jobs, found):
        held = await _hold(exchange, jobs, found, wait)
        if held is not None:
            return _answer(exchange, *held, f"wait={wait}")
    return _answer(exchange, jobs, found, None)


async def _hold(exchange: Exchange, jobs: Jobs, found: Found, wait: float) -> tuple[Jobs, Found] | None:
    """Wait until there is news and return it with the rest; None where there is no place to wait."""
    client = exchange.client(jobs.user)
    if not exchange.take_place(client):
        return None
    try:
        with exchange.kit.hub.view(jobs.ids) as viewer:
            end = monotonic() + wait
            while not viewer.closed and _is_waited_for(exchange, jobs, found) and (left := end - monotonic()) > 0:
                news = await exchange.calls.news(viewer, left)
                shown = {id: Shown(record) for id, record in news.items()}
                jobs, found = await exchange.admit(jobs, found | shown)
    finally:
        exchange.budget.give_back(client)
    return jobs, found


def _is_waited_for(exchange: Exchange, jobs: Jobs, found: Found) -> bool:
    return not jobs.are_refused and _is_old(exchange, jobs, found)


def _is_old(exchange: Exchange, jobs: Jobs, found: Found) -> bool:
    """Tell whether the asker knows all this, and may yet come to know more."""
    etag = _etag(exchange, jobs, found)
    if etag is None:
        return True
    return none_match(exchange.request.headers, etag) and not _are_done(jobs, found)


def _are_done(jobs: Jobs, found: Found) -> bool:
    return all(id in found and found[id].record.done for id in jobs.names.values() if id is not None)


def _etag(exchange: Exchange, jobs: Jobs, found: Found) -> str | None:
    """Return a tag of what is told, other than that of its HTML; None where a single job is not known."""
    if jobs.single:
        return tag(next(iter(found.values())).record.cursor, exchange.html) if found else None
    return _etag_of_many(exchange, jobs, found)


def _etag_of_many(exchange: Exchange, jobs: Jobs, found: Found) -> str:
    cursors = [name + (f" {found[id].record.cursor}" if id in found else "") for name, id in jobs.names.items()]
    return tag(sha256("\n".join(cursors).encode("utf-8", "replace")).hexdigest()[:32], exchange.html)


def _answer(exchange: Exchange, jobs: Jobs, found: Found, applied: str | None) -> Response:
    if jobs.are_refused:
        return refused()
    if not jobs.single:
        return _answer_of_many(exchange, jobs, found, applied)
    if not found:
        return unknown(RETRY_AFTER, **HEADERS, Preference_Applied=applied)
    (shown,) = found.values()
    form = exchange.html, exchange.settings.expose_errors
    is_seen = none_match(exchange.request.headers, tag(shown.record.cursor, html=form[0]))
    response = (not_modified if is_seen else full)(shown, form)
    if applied is None:
        return response
    return response._replace(headers={**response.headers, "Preference-Applied": applied})


def _answer_of_many(exchange: Exchange, jobs: Jobs, found: Found, applied: str | None) -> Response:
    etag = _etag_of_many(exchange, jobs, found)
    retry_after = None if _are_done(jobs, found) else RETRY_AFTER
    headers = HEADERS | {"ETag": etag, "Retry_After": retry_after, "Preference_Applied": applied}
    if none_match(exchange.request.headers, etag):
        return empty(304, **headers)
    if exchange.html:
        return respond(200, "text/html; charset=utf-8", _as_html(exchange, jobs, found), **headers)
    return respond(200, "application/json", as_json(exchange, jobs, found), **headers)


def as_json(exchange: Exchange, jobs: Jobs, found: Found) -> bytes:
    """Return the record, or `{"jobs": {name: record or null}}`."""
    if jobs.single:
        (id,) = found
        return exchange.text(found[id]).encode("utf-8", "replace")
    told = [
        f"{json.dumps(name)}:{exchange.text(found[id]) if id in found else 'null'}" for name, id in jobs.names.items()
    ]
    return f'{{"jobs":{{{",".join(told)}}}}}'.encode("utf-8", "replace")


def _as_html(exchange: Exchange, jobs: Jobs, found: Found) -> bytes:
    fragments = [exchange.text(found[id], html=True) for id in jobs.ids if id in found]
    return "\n".join(fragments).encode("utf-8", "replace")
