"""Many pages that look at a job: few threads share a budget and the rest poll, several processes share the pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from progresskit import ProgressObserver
from tests.end_to_end.servers import Serve, Servers, Site, running
from tests.end_to_end.visitors import Visitor, client_of, visiting
from tests.services.nginx import Nginx
from tests.services.waiting import wait_until

PAGES = 50
PLACES = 2 * 2  # of two processes
STREAM_SECONDS, ANSWER_SECONDS = 600, 60
"""A request that had to wait for a thread that is lent would not be answered in time."""

END_SECONDS = 120


def test_fifty_pages_leave_threads_to_everybody_else_and_all_see_the_end(redis_servers: Servers) -> None:
    site = Site(redis_servers, "gunicorn-2x4", STREAM_SECONDS=STREAM_SECONDS)
    with running(site), redis_servers.job(5) as (id, observer):
        (key,) = site.keys(id)
        asyncio.run(_visited_by_fifty(site, key, observer))


async def _visited_by_fifty(site: Site, key: str, observer: ProgressObserver) -> None:
    visitors = [Visitor(site.url, key) for _ in range(PAGES)]
    record = f"/progress/{key}/"
    async with client_of(site.url, ANSWER_SECONDS) as client, visiting(visitors) as all_done:
        await _until("each page is told", lambda: all(visitor.job for visitor in visitors))
        await _until("all places are taken", lambda: sum(visitor.held for visitor in visitors) == PLACES)
        etag = (await client.get(record)).headers["ETag"]
        long_polls = [client.get(record, headers={"If-None-Match": etag, "Prefer": "wait=20"}) for _ in range(8)]
        for answer in await asyncio.gather(*long_polls):
            assert (answer.status_code, "Preference-Applied" in answer.headers) == (304, False)
        for _ in range(5):
            answers = await asyncio.gather(*[client.get("/") for _ in range(8)])
            assert {answer.status_code for answer in answers} == {200}
            assert sum(visitor.held for visitor in visitors) == PLACES

        observer.succeed()
        await asyncio.wait_for(all_done, END_SECONDS)
    assert {visitor.job["state"] for visitor in visitors} == {"succeeded"}


def test_pages_go_to_another_process_when_theirs_is_stopped(
    redis_servers: Servers, missing_service: Callable[..., NoReturn]
) -> None:
    """Two of `progresskit serve` share the pages, by a load balancer; one of them is asked to end."""
    if why := Nginx.missing():
        missing_service("nginx", why)
    site = Site(redis_servers, "django-wsgi")
    serves = [Serve(site) for _ in range(2)]
    with (
        running(site, *serves),
        Nginx({"/": [site.url], "/progress/": [serve.url for serve in serves]}) as nginx,
        redis_servers.job(5) as (id, observer),
    ):
        asyncio.run(_visited_while_one_ends(nginx.url, site.keys(id)[0], serves[0], observer))


async def _visited_while_one_ends(url: str, key: str, serve: Serve, observer: ProgressObserver) -> None:
    visitors = [Visitor(url, key) for _ in range(PAGES)]
    async with visiting(visitors) as all_done:
        await _until("each page has a stream", lambda: all(visitor.held for visitor in visitors))
        assert await asyncio.to_thread(serve.terminate) == 0
        await _until("some have another", lambda: any(visitor.streams > 1 for visitor in visitors))
        await _until("each page has a stream again", lambda: all(visitor.held for visitor in visitors))
        assert any(visitor.streams == 1 for visitor in visitors), "all were at the one that was stopped"
        observer.succeed()
        await asyncio.wait_for(all_done, END_SECONDS)
    assert {visitor.job["state"] for visitor in visitors} == {"succeeded"}


async def _until(what: str, condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition, what)
