"""What a visitor may do: cancel where the page lets him, and read nothing but what the page shows."""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page

from progresskit import Kit, State
from progresskit.web import Surface
from tests.adapters.celery.worker import Worker
from tests.end_to_end.screen import OpenPage
from tests.end_to_end.servers import KINDS, Servers, Site, running
from tests.end_to_end.visitors import ONCE
from tests.services.waiting import wait_until

CANCEL_STEPS = 150
"""Of 10 ms or more each: a job that is asked to stop goes on for 1.5 s at most, by its own time."""

ANSWER_SECONDS = 60


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, servers: Servers, worker: Worker) -> Iterator[Site]:
    site = Site(servers, request.param)
    with running(site):
        yield site


@pytest.fixture
def jobs(servers: Servers, site: Site) -> Iterator[list[str]]:
    """Give two jobs that stand still, the second one with a name that some sites let anybody use."""
    ids = [site.start_task("quiet", id=f"{name}-{uuid4().hex[:8]}") for name in ("private", "public")]
    for id in ids:
        servers.await_step(id, 3)
    yield ids
    for id in ids:
        servers.open_gate(id, 1)
        servers.await_job(id, "the end", lambda record: record.done)


@pytest.mark.parametrize("task", ["tracked_loop", "advancing_loop"])
def test_a_click_stops_the_loop_soon(
    servers: Servers,
    site: Site,
    worker: Worker,
    open_page: OpenPage,
    task: str,
) -> None:
    id = site.start_task(task)
    screen = open_page(site.page(id))
    screen.expect_state("running")
    # A job looks for a request to cancel soon after its start: here it is to find one that comes later.
    servers.await_job(id, "the loop", lambda record: record.current > 140)

    with screen.page.expect_response("**/cancel/") as answer:
        screen.part("cancel").click()
    assert answer.value.status == 202
    asked = servers.record(id)
    cancelled = servers.await_job(id, "the end", lambda record: record.done)
    took = time.time() - screen.page.evaluate("recorded.clicked")
    went_on = cancelled.current - asked.current
    print(f"cancelled {took:.2f} s after the click, {went_on:.0f} steps after it was asked to")
    assert cancelled.state is State.CANCELLED
    assert went_on <= CANCEL_STEPS

    screen.expect_state("cancelled")
    assert [event["job"]["state"] for event in screen.events("done")] == ["cancelled"]
    assert wait_until(lambda: servers.celery_state(id), "Celery's word on it") == "REVOKED"
    assert len(servers.starts(id)) == 1
    assert not re.search(rf"\[{id}\].*(raised unexpected|retry|succeeded)", worker.logged(), re.IGNORECASE)


def test_the_key_of_one_job_opens_no_other(servers: Servers, site: Site, jobs: list[str]) -> None:
    mine, other = jobs
    my_key, other_key = site.keys(mine) + site.keys(other)
    stranger = Surface(Kit(secret_key="the secret of another site, long enough"))
    forged = [
        with_id(my_key, other),
        spliced(other_key, my_key),
        stranger.sign(other, "cancel"),
        other_key[1:],
        other_key[:-1],
        other,
        mine,
    ]
    with client_of(f"{site.url}/progress/") as client:
        shown = client.get(f"{my_key}/")
        assert (shown.status_code, shown.json()["id"]) == (200, mine)
        for key in forged:
            for method, path in (("GET", ""), ("GET", "events/"), ("POST", "cancel/")):
                response = client.request(method, f"{key}/{path}")
                assert response.status_code == 404, (key, path)
                assert other not in response.text
        together = client.get("", params={"key": [my_key, *forged]})
        assert {key: record and record["id"] for key, record in together.json()["jobs"].items()} == {
            my_key: mine,
            **dict.fromkeys(forged),
        }
        assert client.get(f"{other_key}/").json()["id"] == other, "the key itself would have opened it"
    assert not any(servers.record(id).cancel_requested for id in jobs)


def test_a_raw_id_is_a_key_only_where_the_site_says_so(servers: Servers, site: Site, jobs: list[str]) -> None:
    private, public = jobs
    anybody, some = Site(servers, site.kind, ALLOW_ANONYMOUS=True), Site(servers, site.kind, PUBLIC_ONLY=True)

    with running(anybody, some), client_of() as client:
        answers = {
            (one, id): (
                client.get(f"{one.url}/progress/{id}/").status_code,
                client.post(f"{one.url}/progress/{id}/cancel/").status_code,
            )
            for one in (site, anybody, some)
            for id in (private, public)
        }

    assert answers == {
        (site, private): (404, 404),
        (site, public): (404, 404),
        (anybody, private): (200, 404),
        (anybody, public): (200, 404),
        (some, private): (404, 404),
        (some, public): (200, 404),
    }
    assert not any(servers.record(id).cancel_requested for id in jobs)


def test_who_may_only_watch_cannot_cancel(servers: Servers, site: Site, jobs: list[str], open_page: OpenPage) -> None:
    id, _ = jobs
    (key,) = site.keys(id, watch_only=True)
    screen = open_page(site.page(id, watch_only=True))
    screen.expect_percent(30)

    assert screen.part("cancel").is_hidden()
    assert post(screen.page, f"{site.url}/progress/{key}/cancel/", {"headers": {"X-Progresskit": "1"}}) == 404
    assert not servers.record(id).cancel_requested


def test_another_site_cannot_cancel_with_a_key_that_it_came_to_know(
    servers: Servers, site: Site, jobs: list[str], open_page: OpenPage
) -> None:
    id, _ = jobs
    (key,) = site.keys(id)
    cancel = f"{site.url}/progress/{key}/cancel/"

    with elsewhere() as port:
        for host in (
            "127.0.0.1",
            "localhost",
        ):  # the same site in the eyes of a browser, though another origin; another
            page = open_page(f"http://{host}:{port}/").page
            began = time.time()
            with page.expect_response(cancel) as answer:
                assert post(page, cancel, {"mode": "no-cors"}) == 0
            assert answer.value.status == 403
            assert post(page, cancel, {"headers": {"X-Progresskit": "1"}}) == "TypeError"
            assert [asked.method for asked in site.requests(began) if asked.path.endswith("/cancel/")].count(
                "POST"
            ) == 1
            assert not servers.record(id).cancel_requested

    own = open_page(site.page(id)).page
    assert post(own, cancel, {}) == 202
    assert servers.record(id).cancel_requested


def client_of(url: str = "") -> httpx.Client:
    """Return a client that may ask for a cancel."""
    return httpx.Client(base_url=url, headers={"X-Progresskit": "1"}, timeout=ANSWER_SECONDS, limits=ONCE)


def post(page: Page, url: str, options: dict[str, object]) -> int | str:
    """Send a request from a page's script, and return the status that it sees, or the name of the error."""
    status: int | str = page.evaluate(
        """([url, options]) => fetch(url, { method: "POST", ...options }).then(
            (response) => response.status,
            (error) => error.name,
        )""",
        [url, options],
    )
    return status


def with_id(key: str, id: str) -> str:
    """Return the key with another id in it, and the signature that it had."""
    packed, _, signature = key[1:].partition("~")
    *rights, _ = json.loads(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    changed = json.dumps([*rights, id], separators=(",", ":")).encode()
    return f"~{urlsafe_b64encode(changed).decode().rstrip('=')}~{signature}"


def spliced(content: str, signature: str) -> str:
    """Return what one key opens under the signature of another."""
    return content.rpartition("~")[0] + "~" + signature.rpartition("~")[2]


class Blank(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def elsewhere() -> Iterator[int]:
    """Serve another site, and give its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
