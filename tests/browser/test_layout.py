"""How bars of any width look: nothing lies over anything else, and nothing sticks out."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.gallery.stub import Stub

FAULTS = """width => [...document.querySelectorAll("progress-bar, progress-group")].flatMap(bar => {
    bar.style.width = `${width}px`;
    const box = bar.getBoundingClientRect();
    const pieces = [...bar.shadowRoot.querySelectorAll("svg, [part]:not([part=bar], [part=fill], [part=said])")];
    const boxes = pieces.flatMap(piece => [...piece.getClientRects()].map(rect => [piece, rect]));
    const within = (one, other) => one.contains(other) || other.contains(one);
    const over = (one, other) =>
        Math.min(one.right, other.right) - Math.max(one.left, other.left) > 0.5 &&
        Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 3;  // lines of text touch
    const name = piece => `${bar.getAttribute("src") ?? bar.getAttribute("label")} ${piece.getAttribute("part")}`;
    return [
        ...boxes.filter(([, rect]) => rect.left < box.left - 0.5 || rect.right > box.right + 0.5)
            .map(([piece]) => `${name(piece)} sticks out`),
        ...boxes.flatMap(([one, rect], i) => boxes.slice(i + 1)
            .filter(([other, second]) => !within(one, other) && over(rect, second))
            .map(([other]) => `${name(one)} lies over ${name(other)}`)),
    ];
})"""


@pytest.fixture
def states(page: Page, gallery: Stub) -> Page:
    page.goto(gallery.url)
    for state in ("running", "cancelling", "failed", "error"):
        expect(page.locator(f"progress-bar[data-state={state}]").first).to_be_visible()
    return page


@pytest.mark.parametrize("width", [100, 140, 180, 220, 280, 400])
def test_nothing_lies_over_anything_else_or_sticks_out(states: Page, width: int) -> None:
    faults: list[Any] = states.evaluate(FAULTS, width)

    assert faults == []


def test_a_bar_has_a_width_where_its_surroundings_give_it_none(states: Page) -> None:
    states.evaluate("document.querySelector('progress-bar').parentElement.style.display = 'inline-flex'")

    assert states.locator("progress-bar").first.evaluate("bar => bar.offsetWidth") > 200
