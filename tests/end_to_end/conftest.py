"""A real browser in front of real servers, and a real worker behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser

from tests.adapters.celery.worker import Worker
from tests.browser.conftest import browser
from tests.end_to_end.screen import OpenPage, Screen
from tests.end_to_end.servers import Servers
from tests.services import server

__all__ = ["browser"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "open_page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give a folder to share, and a view of the progress in it."""
    servers = Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.kit.close()


@pytest.fixture(scope="module")
def redis_servers(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give a folder to share, with the progress in Redis."""
    needs("redis")
    servers = Servers(tmp_path_factory.mktemp("servers"), server("redis").fresh())
    with closing(servers.kit):
        yield servers


@pytest.fixture(scope="module")
def worker(servers: Servers) -> Iterator[Worker]:
    """Give a worker with a pool of two processes."""
    worker = servers.start_worker()
    yield worker
    worker.kill()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Give a function that opens a page, each in a tab and with cookies and a cache of its own."""
    contexts = []

    def open(url: str) -> Screen:
        context = browser.new_context()
        context.set_default_timeout(60_000)
        contexts.append(context)
        return Screen(context, url)

    yield open
    for context in contexts:
        context.close()
