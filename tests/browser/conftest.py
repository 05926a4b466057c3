"""A real browser for the tests of this folder."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import packages
from tests.browser.gallery.stub import Stub
from tests.services.ports import free_port

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# What does not come at all is seen soon enough; what comes late on a busy machine is no failure.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


# One a module, not one a session: while it is there, its event loop would be in the way of asyncio tests elsewhere.
@pytest.fixture(scope="module")
def browser(program: Callable[..., str]) -> Iterator[Browser]:
    """Give Debian's Chromium, or another that is installed; without its windows, if it can be had so."""
    path = program("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=3 * PATIENCE_MS)
        yield chromium
        chromium.close()


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Give a function that opens a page of its own, without cookies or cache of another test."""
    with ExitStack() as stack:

        def new_page(**options: Any) -> Page:
            context = stack.enter_context(browser.new_context(**options))
            context.set_default_timeout(PATIENCE_MS)
            return context.new_page()

        yield new_page


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """Give one such page."""
    return new_page()


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Give a server that only speaks the wire."""
    stub = Stub(port=free_port())  # which is its own while it is stopped, too
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture(scope="module")
def gallery() -> Iterator[Stub]:
    """Give one that has every state on its first page."""
    stub = Stub()
    stub.start()
    stub.fill_gallery()
    yield stub
    stub.stop()


@pytest.fixture(scope="session")
def node_modules(program: Callable[..., str], missing_service: Callable[..., NoReturn]) -> Path:
    """Give the folder of the packages that npm installs."""
    try:
        return packages.install(program("npm"))
    except (OSError, subprocess.SubprocessError) as error:
        missing_service("what npm brings", str(getattr(error, "stderr", None) or error))
