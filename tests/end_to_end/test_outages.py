"""
Twenty open pages, and what becomes of their bars while servers, the network or the pages themselves are away.

Half of the pages are of a threaded Django, half of a `progresskit serve` that an nginx has beside that. They are opened
once and never loaded again; one bar of each is there from the first outage to the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple, NoReturn
from uuid import uuid4

import pytest

from progresskit import ProgressObserver
from tests.end_to_end.chromium import Chromium, Page
from tests.end_to_end.servers import STORE_SECONDS, Serve, Servers, Site, pause, running, together
from tests.services.nginx import Nginx
from tests.services.proxy import Proxy
from tests.services.redis import Redis
from tests.services.waiting import PATIENCE, wait_until

VISITORS, PAGES_OF_EACH = 2, 5
CUT_SECONDS = 30
"""Seconds: a page that polls comes again after 12 at most."""

Shown = list[tuple[str, int | None]]
"""The state and the percentage of bars, in order."""

BEGUN: Shown = [("running", 30)] * 3
AWAY: Shown = [("succeeded", 100), ("failed", 30), ("running", 60)]
ENDED: Shown = [*AWAY[:2], ("succeeded", 100)]

SHOWN = "[...document.querySelectorAll('progress-bar')].map((bar) => [bar.dataset.state, bar.job?.percent])"
TOLD = """
recorded.events
  .filter(({ type }) => type !== "progress")
  .map(({ type, bar, job }) => [bar, type])
  .sort(([one], [other]) => one - other)
"""


class Jobs:
    """Three of this process: one that succeeds while something is away, one that fails then, and one that goes on."""

    def __init__(self, servers: Servers) -> None:
        self.ids = [f"job-{uuid4().hex[:8]}" for _ in range(3)]
        self._observers = [servers.kit.observe(id, total=100) for id in self.ids]
        for observer in self._observers:
            observer.set_progress(30)

    def go_on(self) -> None:
        """Do what is to be done while something is away."""
        succeeding, failing, going = self._observers
        going.set_progress(60)
        succeeding.succeed()
        failing.fail(RuntimeError("as it was to be"))

    def end(self) -> None:
        """End the one that goes on."""
        self._observers[2].succeed()


class Scenario(NamedTuple):
    """Servers, the roads to them, and pages."""

    redis: Redis
    servers: Servers
    django: Site
    serve: Serve
    roads: list[Proxy]
    pages: list[list[Page]]
    """Of each visitor: those of Django first."""

    @property
    def all_pages(self) -> list[Page]:
        return [page for pages in self.pages for page in pages]

    def show(self, jobs: Jobs) -> None:
        """Add the bars of these jobs to each page, and return when they show how far they are."""
        elements = "".join(
            f'<progress-bar src="/progress/{key}/"></progress-bar>' for key in self.django.keys(*jobs.ids)
        )
        for page in self.all_pages:
            page.run(f"document.body.insertAdjacentHTML('beforeend', {elements!r})")
        self.expect(BEGUN, self.all_pages)

    def expect(self, shown: Shown, pages: list[Page]) -> None:
        """Return when the bars of these pages that were added last show this."""
        wrong = list(pages)

        def none_is_wrong() -> bool:
            wrong[:] = [page for page in wrong if last_shown(page) != shown]
            return not wrong

        try:
            wait_until(none_is_wrong, "all bars are right", PATIENCE, step=0.1)
        except TimeoutError as error:
            error.add_note(f"{len(wrong)} pages show {[last_shown(page) for page in wrong]}, not {shown}")
            raise

    def expect_to_go_on(self, jobs: Jobs) -> None:
        """See that the bars of each page show what happened, and then go on to the end."""
        self.expect(AWAY, self.all_pages)
        jobs.end()
        self.expect(ENDED, self.all_pages)


def last_shown(page: Page) -> Shown:
    """Return what the last three bars of a page show."""
    return [(state, percent) for state, percent in page.run(SHOWN)[-3:]]


@pytest.fixture(scope="module")
def steady(servers: Servers) -> ProgressObserver:
    """Run a job that is there all the time."""
    observer = servers.kit.observe("steady", total=100)
    observer.set_progress(1)
    servers.kit.flush(STORE_SECONDS)
    return observer


@pytest.fixture(scope="module")
def redis(needs: Callable[[str], None]) -> Iterator[Redis]:
    needs("redis")
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def servers(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("servers"), redis.url)
    with closing(servers.kit):
        yield servers


@pytest.fixture(scope="module")
def scenario(
    redis: Redis,
    servers: Servers,
    steady: ProgressObserver,
    program: Callable[..., str],
    missing_service: Callable[..., NoReturn],
) -> Iterator[Scenario]:
    """Start all servers, and open all pages."""
    path = program("chromium", "chromium-browser", "google-chrome")
    if why := Nginx.missing():
        missing_service("nginx", why)
    django = Site(servers, "django-wsgi")
    serve = Serve(django)
    with ExitStack() as stack:
        stack.enter_context(running(django, serve))
        nginx = stack.enter_context(Nginx({"/": [django.url], "/progress/": [serve.url]}))
        roads = [stack.enter_context(Proxy(port)) for port in (django.port, nginx.port)]
        browser = stack.enter_context(Chromium(path))
        scenario = Scenario(redis, servers, django, serve, roads, [])
        for road in roads:
            address = f"http://127.0.0.1:{road.port}{django.page('steady').removeprefix(django.url)}"
            for visitor in [browser.visitor() for _ in range(VISITORS)]:
                scenario.pages.append([browser.page(visitor) for _ in range(PAGES_OF_EACH)])
                for page in scenario.pages[-1]:
                    page.go(address)
        scenario.expect([("running", 1)], scenario.all_pages)
        for page in scenario.all_pages:
            page.run("Object.assign(window, { notReloaded: true }).notReloaded")
        yield scenario


@pytest.fixture
def jobs(scenario: Scenario) -> Jobs:
    """Give jobs that every page shows."""
    jobs = Jobs(scenario.servers)
    scenario.show(jobs)
    return jobs


def test_the_web_servers_are_killed_and_start_again(scenario: Scenario, jobs: Jobs) -> None:
    for site in (scenario.django, scenario.serve):
        site.kill()
    jobs.go_on()
    together(Site.start, scenario.django, scenario.serve)

    scenario.expect_to_go_on(jobs)


def test_the_backend_is_killed_and_starts_again_with_nothing_in_it(scenario: Scenario, jobs: Jobs) -> None:
    scenario.redis.kill()
    jobs.go_on()
    pause(1)
    scenario.redis.start()

    scenario.expect_to_go_on(jobs)


def test_pages_are_frozen_and_thawed(scenario: Scenario, jobs: Jobs) -> None:
    """All of one visitor, and of another the one that has the connection of all."""
    frozen = [page for first, second in (scenario.pages[:2], scenario.pages[2:]) for page in (*first, second[0])]
    others = [page for page in scenario.all_pages if page not in frozen]
    try:
        for page in frozen:
            page.freeze()
        jobs.go_on()
        scenario.expect(AWAY, others)
        scenario.expect(BEGUN, frozen)
    finally:
        for page in frozen:
            page.thaw()

    scenario.expect_to_go_on(jobs)


def test_the_network_is_cut_for_half_a_minute(scenario: Scenario, jobs: Jobs) -> None:
    for road in scenario.roads:
        road.refuse()
        road.cut()
    jobs.go_on()
    pause(CUT_SECONDS)
    scenario.expect(BEGUN, scenario.all_pages)
    for road in scenario.roads:
        road.accept()

    scenario.expect_to_go_on(jobs)


def test_after_all_that_each_bar_was_sent_its_end_once_and_no_page_was_loaded_again(
    scenario: Scenario, steady: ProgressObserver
) -> None:
    bars = {len(page.run(SHOWN)) for page in scenario.all_pages}
    (count,) = bars
    assert count > 1
    steady.succeed()

    def events() -> list[list[tuple[int, str]]]:
        return [[(bar, type) for bar, type in page.run(TOLD)] for page in scenario.all_pages]

    ends = [(bar, "done") for bar in range(count)]
    wait_until(lambda: all(len(one) >= count for one in events()), "every bar is told its end", PATIENCE)
    assert events() == [ends] * len(scenario.all_pages)
    assert all(page.run("window.notReloaded") for page in scenario.all_pages)
