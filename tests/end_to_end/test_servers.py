"""Streams behind the servers that sites have, by themselves and with nginx in front, and what takes their place."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from statistics import median
from typing import NoReturn

import httpx
import pytest

from progresskit.web import tokens
from tests.contract.clients import (
    STALL_SECONDS,
    Events,
    blocks,
    eventually,
    kept_connection,
    quickest,
    streaming,
)
from tests.end_to_end.screen import OpenPage
from tests.end_to_end.servers import Servers, Site, pause, running
from tests.end_to_end.visitors import ONCE
from tests.services.nginx import Nginx

STREAMING = (
    "django-wsgi",
    "django-asgi",
    "flask",
    "gunicorn-threads",
    "gunicorn-gevent",
    "uvicorn",
    "hypercorn",
    "granian-django",
    "granian-wsgi",
)

FOR_DEVELOPMENT = ("django-wsgi", "flask")

AT_ONCE = 0.3
"""Seconds from a request to the first event, and from a change to the one that tells it."""

ROUNDS = (2, 2, 3)
"""
How many steps are taken while a stream is open, one stream after the other.

A server notices that a stream was left when it writes to it for the second time; this is how often the next round does.
"""

STEP_SECONDS = 0.1

WAIT_SECONDS = 20
"""So long a poll is held, and longer a stream, where there is room for them."""

ANSWER_SECONDS = 60

Reach = Callable[[Site], AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def streaming_sites(redis_servers: Servers) -> Iterator[dict[str, Site]]:
    """Start a site on each of the servers that can hold a stream, all at once."""
    sites = {kind: Site(redis_servers, kind) for kind in STREAMING}
    with running(*sites.values()):
        yield sites


@pytest.fixture(params=STREAMING)
def site(request: pytest.FixtureRequest, streaming_sites: dict[str, Site]) -> Site:
    """Give the site on one of the servers that can hold a stream."""
    return streaming_sites[request.param]


@pytest.fixture(scope="module")
def sync_site(redis_servers: Servers) -> Iterator[Site]:
    """Give one whose only process serves one request at a time."""
    site = Site(redis_servers, "gunicorn-sync")
    with running(site):
        yield site


@pytest.fixture(params=["straight", "through-nginx"])
def reach(request: pytest.FixtureRequest, missing_service: Callable[..., NoReturn]) -> Reach:
    """Give a function that gives a client of a site, which asks the site itself or an nginx in front of it."""
    if request.param == "straight":
        return lambda site: client_of(site.url)
    if why := Nginx.missing():
        missing_service("nginx", why)

    @contextmanager
    def through_nginx(site: Site) -> Iterator[httpx.Client]:
        with Nginx({"/": [site.url]}) as nginx, client_of(nginx.url) as client:
            page = client.get("/")
            assert page.headers["Content-Encoding"] == "gzip", "what is not a stream is compressed here"
            yield client

    return through_nginx


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False, limits=ONCE)


@pytest.mark.timing
def test_the_first_event_comes_at_once_and_each_later_one_before_there_is_another(
    redis_servers: Servers, site: Site, reach: Reach
) -> None:
    firsts, delays, step = list[float](), list[float](), 0
    with redis_servers.job(sum(ROUNDS)) as (id, observer), reach(site) as client:
        (key,) = site.keys(id)
        for steps in ROUNDS:
            with placed(client, f"/progress/{key}/events/") as (events, asked):
                assert events.job()["current"] == step
                firsts.append(time.monotonic() - asked)
                assert events.response.headers["Content-Encoding"] == "identity"
                assert client.get("/").status_code == 200, "who looks at a job keeps nobody waiting"
                for _ in range(steps):
                    pause(STEP_SECONDS)
                    step += 1
                    observer.set_progress(step)
                    changed = time.monotonic()
                    # Where events were held back, this would wait for a step that is not taken before it has come.
                    while events.job()["current"] < step:
                        pass
                    delays.append(time.monotonic() - changed)
                if step == sum(ROUNDS):
                    observer.succeed()
                    assert [json.loads(block["data"])["state"] for block in events if "data" in block] == ["succeeded"]

    print(f"{site}: first {min(firsts) * 1e3:.0f} ms, later {median(delays) * 1e3:.0f} ms")
    assert min(firsts) < AT_ONCE, firsts
    assert median(delays) < AT_ONCE, delays


@contextmanager
def placed(client: httpx.Client, path: str) -> Iterator[tuple[Events, float]]:
    """
    Give a stream that has found a place, and when it was asked for.

    The place of one that was left is given back a moment after it was written to for the second time.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        asked = time.monotonic()
        with streaming(client, path) as events:
            if events.next("retry") == "1000":
                yield events, asked
                return
        assert asked < deadline, "no place was given back"


@pytest.mark.timing
def test_no_poll_on_a_kept_connection_waits_for_an_acknowledgement(redis_servers: Servers, site: Site) -> None:
    if site.kind in FOR_DEVELOPMENT:
        pytest.skip("Python's own HTTP server has TCP wait, and these are built on it")
    with redis_servers.job(5) as (id, _), kept_connection(site.url, f"/progress/{site.keys(id)[0]}/") as (_, poll):
        assert quickest(poll) < STALL_SECONDS


@pytest.mark.parametrize("kind", ["gunicorn-threads", "gunicorn-gevent"])
def test_a_client_who_reads_nothing_gives_its_place_back(redis_servers: Servers, kind: str) -> None:
    site = Site(redis_servers, kind, MAX_STREAMS=1, STREAM_SECONDS=10)
    with running(site), ExitStack() as stack:
        ids, observers = zip(*[stack.enter_context(redis_servers.job(5)) for _ in range(100)], strict=True)
        of_all = tokens.make(site.secret, ids, "watch", ttl=600, now=time.time())
        reader = stack.enter_context(socket.socket())
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.connect(("127.0.0.1", site.port))
        reader.sendall(f"GET /progress/{of_all}/events/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        client = stack.enter_context(client_of(site.url))
        (key,) = site.keys(ids[0])

        def has_place() -> bool:
            with streaming(client, f"/progress/{key}/events/") as events:
                return events.next("retry") == "1000"

        begun = time.monotonic()
        while time.monotonic() - begun < 2.5:  # more than all buffers on the way hold
            for observer in observers:
                observer.update(meta={"filling": os.urandom(3_900).hex()})
            pause(0.05)
        assert not has_place()
        assert eventually(has_place)
        assert "Traceback" not in site.output()


def test_a_process_that_serves_one_request_at_a_time_streams_to_no_page(
    redis_servers: Servers, sync_site: Site, reach: Reach
) -> None:
    """A stream tells what there is and ends, a long poll is answered at once, and both say when to come again."""
    with redis_servers.job(5) as (id, observer), reach(sync_site) as client:
        (key,) = sync_site.keys(id)
        asked = time.monotonic()
        stream = client.get(f"/progress/{key}/events/")
        poll = client.get(f"/progress/{key}/")
        held = client.get(
            f"/progress/{key}/", headers={"If-None-Match": poll.headers["ETag"], "Prefer": f"wait={WAIT_SECONDS}"}
        )
        assert time.monotonic() - asked < WAIT_SECONDS, "one of them was held"
        retry, event = blocks(stream)
        assert retry == {"retry": "2000"}
        assert json.loads(event["data"]) == poll.json()
        assert (held.status_code, "Preference-Applied" in held.headers) == (304, False)
        assert (poll.headers["Retry-After"], held.headers["Retry-After"]) == ("1", "1")

        observer.succeed()
        assert eventually(lambda: client.get(f"/progress/{key}/").json()["done"])
        seen = blocks(client.get(f"/progress/{key}/events/", headers={"Last-Event-ID": event["id"]}))[-1]
        assert json.loads(seen["data"])["state"] == "succeeded"
        assert client.get(f"/progress/{key}/events/", headers={"Last-Event-ID": seen["id"]}).status_code == 204


def test_a_bar_runs_to_its_end_where_there_are_no_streams(
    redis_servers: Servers, sync_site: Site, reach: Reach, open_page: OpenPage
) -> None:
    with redis_servers.job(5) as (id, observer), reach(sync_site) as client:
        screen = open_page(f"{client.base_url}{sync_site.page(id).removeprefix(sync_site.url)}")
        screen.expect_percent(0)
        observer.set_progress(3)
        screen.expect_percent(60)
        observer.set_progress(5)
        observer.succeed()
        screen.expect_state("succeeded")
        assert len(screen.events("done")) == 1
        assert screen.events("error") == []
