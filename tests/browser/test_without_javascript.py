"""A bar on a real page, in a browser that runs no scripts, and in one that does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, render_template_string
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from progresskit import Kit
from progresskit_flask import ProgressKit
from tests.services.threads import serving

PAGE = """<!doctype html><html lang="en"><title>Import</title><p>{{ progress_bar("import-42", cancel=True) }}</p>"""


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", secret_key="of this test", flush_seconds=60)
    yield kit
    kit.close()


@pytest.fixture
def address(kit: Kit) -> Iterator[str]:
    """Serve a page with a bar; give its address."""
    app = Flask("site")
    ProgressKit(app, kit=kit)
    app.add_url_rule("/", view_func=lambda: render_template_string(PAGE), endpoint="page")
    with serving(make_server("127.0.0.1", 0, app, threaded=True)) as url:
        yield f"{url}/"


def test_without_javascript_the_fragment_is_shown_with_its_age(
    new_page: Callable[..., Page], kit: Kit, address: str
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(address)
    expect(page.locator(".progresskit-age")).to_have_text(
        "No report when this page was loaded. Reload it for a newer state."
    )
    with kit.observe("import-42", total=100, unit="rows", description="Importing") as job:
        job.set_progress(29)
        kit.flush()
        page.reload()
        expect(page.locator(".progresskit-label")).to_have_text("Importing")
        expect(page.locator(".progresskit-label")).to_be_visible()
        expect(page.locator(".progresskit-count")).to_have_text("29 of 100 rows")
        expect(page.get_by_role("progressbar", name="Importing")).to_be_visible()
        expect(page.locator(".progresskit-age")).to_contain_text("before this page was loaded. Reload it")
        job.fail("The disk is full")
    page.reload()
    expect(page.locator(".progresskit")).to_have_text(
        re.compile("^failed · Importing +29 of 100 rows · 29 % · The disk is full ?Ended .* page was loaded.$")
    )


def test_with_javascript_nothing_of_it_is_ever_seen(page: Page, kit: Kit, address: str) -> None:
    with kit.observe("import-42", total=100, unit="rows", description="Importing") as job:
        job.set_progress(29)
        kit.flush()
        page.route("**/progresskit.js", lambda route: route.abort())
        page.goto(address)
        assert page.locator("progress-bar").inner_text() == ""
        page.unroute("**/progresskit.js")
        page.reload()
        expect(page.locator("progress-bar [part=percent]")).to_have_text("29%")
        expect(page.get_by_role("progressbar")).to_have_count(1)
