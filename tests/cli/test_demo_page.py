"""The demo's page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.cli.processes import LONG_CSV, Demo, demo

ROWS = 500_000  # a second or two of work

SHOWN = """() => {
    window.shown = new Set();
    addEventListener("progress", ({ target }) => {
        shown.add(Number(target.shadowRoot.querySelector("[role=progressbar]").ariaValueNow));
    });
}"""
"""Has the page itself note what its bars show: a test may come to look when all is over."""


@pytest.fixture
def shown(page: Page, running_demo: Demo) -> Iterator[Page]:
    """Give the demo's page, which nothing may go wrong on, with no jobs of an earlier test."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    running_demo.http.post("/clear/")
    page.goto(running_demo.url)
    yield page
    assert complaints == []


def bar_of(page: Page, title: str) -> Locator:
    return page.locator("article", has=page.get_by_role("heading", name=title)).first.locator("progress-bar")


def percent(bar: Locator) -> int:
    return int((bar.get_by_role("progressbar").get_attribute("aria-valuenow")) or 0)


def test_a_file_is_chosen_its_bar_moves_to_the_end_and_a_reload_keeps_it(shown: Page, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,name\n" + "".join(f"{n},Somebody\n" for n in range(ROWS - 1)))
    shown.evaluate(SHOWN)
    shown.get_by_label("Import a CSV file").set_input_files(path)
    bar, ended, values = bar_of(shown, "people.csv"), False, list[int]()
    while len(values) < 3:
        assert not ended, values
        ended = bar.get_attribute("data-state") == "succeeded"
        values = shown.evaluate("() => [...window.shown]")
    shown.reload()
    assert max(values) <= percent_when_known(bar_of(shown, "people.csv"))
    expect(bar_of(shown, "people.csv")).to_have_attribute("data-state", "succeeded")
    expect(shown.locator("article .result")).to_contain_text(f"{ROWS:,} rows in 2 columns")
    shown.get_by_role("button", name="Clear finished").click()
    expect(shown.locator("article")).to_have_count(0)


def percent_when_known(bar: Locator) -> int:
    expect(bar.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
    return percent(bar)


def test_the_third_job_waits_until_another_is_cancelled(shown: Page, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(LONG_CSV)
    first, second, third = (shown.locator("article").nth(place).locator("progress-bar") for place in (2, 1, 0))
    for number in (1, 2):
        shown.get_by_label("Import a CSV file").set_input_files(path)
        expect(shown.locator("article")).to_have_count(number)
    shown.get_by_role("button", name="Compile").click()
    expect(shown.locator("article")).to_have_count(3)
    for bar in (first, second):
        expect(bar).to_have_attribute("data-state", "running")
    expect(third).to_have_attribute("data-state", "pending")
    expect(third).to_contain_text("Waiting")
    first.get_by_role("button", name="Cancel").click()
    expect(first).to_have_attribute("data-state", "cancelled")
    expect(third).to_have_attribute("data-state", "failed")
    expect(third).to_contain_text("broken.py, line 2: '(' was never closed")
    second.get_by_role("button", name="Cancel").click()
    expect(second).to_have_attribute("data-state", "cancelled")


def test_a_job_that_is_started_on_a_phone_scrolls_into_view(new_page: Callable[..., Page], running_demo: Demo) -> None:
    page = new_page(viewport={"width": 375, "height": 667}, has_touch=True)
    page.goto(running_demo.url)
    expect(page.locator("#start")).to_be_in_viewport()
    page.get_by_role("button", name="Search for a prime gap").click()
    bar = bar_of(page, "Search for a prime gap")
    expect(bar).to_be_in_viewport()
    bar.get_by_role("button", name="Cancel").click()  # else the other tests of this demo would see it run
    expect(bar).to_have_attribute("data-state", "cancelled")


def test_what_is_started_and_cleared_in_one_tab_shows_in_the_others(
    shown: Page, running_demo: Demo, tmp_path: Path
) -> None:
    other = shown.context.new_page()
    other.goto(running_demo.url)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    for path in (first, second):
        path.write_text("a,b\n1,2\n")
    shown.get_by_label("Import a CSV file").set_input_files(first)
    expect(bar_of(other, "first.csv")).to_have_attribute("data-state", "succeeded")
    expect(other.locator("article .result")).to_contain_text("2 rows in 2 columns")
    other.get_by_label("Import a CSV file").set_input_files(second)
    expect(shown.get_by_role("heading", level=3)).to_have_text(["second.csv", "first.csv"])
    expect(other.get_by_role("heading", level=3)).to_have_text(["second.csv", "first.csv"])
    expect(bar_of(shown, "second.csv")).to_have_attribute("data-state", "succeeded")
    expect(bar_of(other, "second.csv")).to_have_attribute("data-state", "succeeded")
    shown.get_by_role("button", name="Clear finished").click()
    expect(shown.locator("article")).to_have_count(0)
    expect(other.locator("article")).to_have_count(0)


def test_a_tab_that_is_looked_at_again_shows_what_was_started_elsewhere(shown: Page, running_demo: Demo) -> None:
    running_demo.post("/import/", file=("elsewhere.csv", b"a,b\n1,2\n"))
    expect(shown.locator("article")).to_have_count(0)
    shown.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(bar_of(shown, "elsewhere.csv")).to_have_attribute("data-state", "succeeded")


def test_a_file_can_be_dropped_anywhere_on_the_field(shown: Page) -> None:
    """Browsers take a file that is dropped on its field; what the page adds is a field as large as its label."""
    label, field = shown.locator(".drop label"), shown.get_by_label("Import a CSV file")
    outer, inner = label.bounding_box(), field.bounding_box()
    assert outer is not None
    assert inner is not None
    assert inner["width"] > outer["width"] - 4
    assert inner["height"] > outer["height"] - 4
    field.dispatch_event("dragenter")
    expect(shown.locator(".drop")).to_have_class(re.compile("over"))
    field.dispatch_event("dragleave")
    expect(shown.locator(".drop")).not_to_have_class(re.compile("over"))


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(shown: Page) -> None:
    shown.evaluate("document.querySelector('.drop').dataset.most = 10")
    field = shown.get_by_label("Import a CSV file")
    field.set_input_files({"name": "large.csv", "mimeType": "text/csv", "buffer": b"more than ten bytes"})
    expect(shown.get_by_role("alert")).to_contain_text("large.csv is too large")
    expect(shown.get_by_role("heading", name="large.csv")).to_have_count(0)


def test_a_page_says_so_when_the_demo_has_gone(page: Page, tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        page.goto(running.url)
    page.get_by_role("button", name="Search for a prime gap").click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
