"""
What a visitor sees: bars that move, whatever becomes of streams and servers.

A site that serves by threads runs twice here, as it is and without any stream, and each test looks at both at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.adapters.celery.worker import Worker
from tests.end_to_end.screen import OpenPage
from tests.end_to_end.servers import KINDS, Servers, Site, pause, running, together
from tests.services.waiting import wait_until

QUIET_SECONDS = 5


@pytest.fixture(scope="module", params=KINDS)
def sites(request: pytest.FixtureRequest, servers: Servers, worker: Worker) -> Iterator[list[Site]]:
    """Give a site that has streams to lend, and one that has none where each would cost it a thread."""
    sites = [Site(servers, request.param, STREAM_SECONDS=600)]  # none ends by its age, however long a test takes
    if request.param != "django-asgi":
        sites.append(Site(servers, request.param, MAX_STREAMS=0))
    with running(*sites):
        yield sites


def test_a_bar_rises_to_the_end_and_then_its_page_asks_nothing_more(
    servers: Servers, sites: list[Site], open_page: OpenPage
) -> None:
    id = sites[0].start_task("steps", 100)
    screens = [open_page(site.page(id)) for site in sites]

    for done in (20, 40, 60, 80):
        servers.open_gate(id, done)
        for screen in screens:
            screen.expect_percent(done)
            assert screen.events("done") == []
    servers.open_gate(id, 100)
    for screen in screens:
        screen.expect_state("succeeded")
        screen.expect_percent(100)
    ended = time.time()
    pause(QUIET_SECONDS)

    for site, screen in zip(sites, screens, strict=True):
        assert site.requests(ended) == [], site
        (done_event,) = screen.events("done")
        assert (done_event["job"]["id"], done_event["job"]["percent"]) == (id, 100)
        assert screen.events("error") == []
        percents = screen.percents()
        assert percents == sorted(percents)
        assert {20, 40, 60, 80, 100} <= set(percents)


def test_the_bars_of_a_page_share_a_connection_and_are_right_at_once_after_a_reload(
    servers: Servers, sites: list[Site], open_page: OpenPage
) -> None:
    at = {sites[0].start_task("steps", 100): done for done in (40, 70)}
    for id, done in at.items():
        servers.open_gate(id, done)
        servers.await_step(id, done)
    ids = [*at, sites[0].start_task("steps", 100)]  # the pool is full: this one waits

    opened = time.time()
    screens = [open_page(site.page(*ids)) for site in sites]
    before = []
    for screen in screens:
        for index, done in enumerate(at.values()):
            screen.expect_percent(done, index)
        screen.expect_state("pending", 2)
        before.append([screen.percents(index)[-1] for index in range(2)])

    reloaded = time.time()
    for screen in screens:
        screen.page.reload()
    for screen, last in zip(screens, before, strict=True):
        for index, done in enumerate(at.values()):
            screen.expect_percent(done, index)
            percent, share = screen.first_frame(index)
            assert percent >= last[index]
            assert share == pytest.approx(done / 100, abs=0.02), "drawn where it stands, not on its way there"
    for id in ids:
        servers.open_gate(id, 100)
    for screen in screens:
        for index in range(3):
            screen.expect_state("succeeded", index)

    for site in sites:
        for load in (site.requests(opened, reloaded), site.requests(reloaded)):
            streams = [asked for asked in load if asked.is_stream]
            assert {(asked.path, asked.query.count("key=")) for asked in streams} == {("/progress/events/", 3)}, site
            # Without streams, the one connection comes back again and again.
            assert len(streams) == 1 or not site.streams, site


def test_the_web_server_is_killed_and_comes_back_and_the_bar_carries_on(
    servers: Servers, sites: list[Site], open_page: OpenPage
) -> None:
    id = sites[0].start_task("steps", 100)
    servers.open_gate(id, 30)
    screens = [open_page(site.page(id)) for site in sites]
    for screen in screens:
        screen.expect_percent(30)
        screen.page.evaluate("window.notReloaded = true")

    for site in sites:
        site.kill()
    servers.open_gate(id, 60)
    servers.await_step(id, 60)
    together(Site.start, *sites)
    for screen in screens:
        screen.expect_percent(60)
    servers.open_gate(id, 100)

    for screen in screens:
        screen.expect_state("succeeded")
        screen.expect_percent(100)
        assert screen.page.evaluate("window.notReloaded")
        assert len(screen.events("done")) == 1
        assert screen.percents() == sorted(screen.percents())


def test_a_page_with_a_strict_policy_shows_all_of_it_without_a_word_in_the_console(
    servers: Servers, sites: list[Site], open_page: OpenPage
) -> None:
    id = sites[0].start_task("steps", 3)
    servers.open_gate(id, 1)
    screen = open_page(sites[0].page(id))
    screen.expect_percent(33)
    servers.open_gate(id, 3)
    screen.expect_state("succeeded")
    screen.expect_percent(100)
    wait_until(lambda: screen.filled() == pytest.approx(1, abs=0.001), "a track filled to its end")
    assert screen.errors == []

    with screen.page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        screen.page.evaluate(
            "() => document.body.append(Object.assign(document.createElement('style'), { innerText: 'a' }))"
        )
