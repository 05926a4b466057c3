"""What axe-core finds on the page that has every state on it; what is spoken is tested with each element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.gallery.stub import Stub

STATES = ["running", "pending", "retrying", "stalled", "cancelling", "cancelled", "failed", "succeeded", "error"]
FADED_IN = """() => [...document.querySelectorAll("progress-bar, progress-group")]
    .every(bar => !bar.getAnimations().length)"""
"""What is not told yet appears half a second late, and slowly: its first moments have no contrast."""

AUDIT = """() => axe.run().then(({ violations, passes }) => ({
    faults: violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.flat().join(" ")}`)),
    rules: passes.map(({ id }) => id),
}))"""


def audited(page: Page, node_modules: Path) -> Any:
    page.wait_for_function(FADED_IN)
    page.evaluate((node_modules / "axe-core" / "axe.js").read_text())
    return page.evaluate(AUDIT)


@pytest.mark.parametrize("width", [1200, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    new_page: Callable[..., Page], gallery: Stub, node_modules: Path, scheme: str, width: int
) -> None:
    page = new_page(color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce")
    page.goto(gallery.url)
    for state in STATES:
        expect(page.locator(f"progress-bar[data-state={state}]").first).to_be_visible()
    expect(page.locator("progress-group[open]")).to_have_attribute("data-state", "running")
    expect(page.locator("progress-group:not([open])").first).to_have_attribute("data-state", "running")
    found = audited(page, node_modules)

    assert found["faults"] == []
    assert {"aria-progressbar-name", "button-name", "color-contrast", "aria-valid-attr-value"} <= {*found["rules"]}


def test_axe_is_not_blind_to_what_is_inside_the_element(page: Page, gallery: Stub, node_modules: Path) -> None:
    page.goto(gallery.url)
    expect(page.locator("progress-bar[data-state=running]").first).to_be_visible()
    page.evaluate(
        """() => {
            const bar = document.querySelector("progress-bar[data-state=running]");
            bar.render = () => {};
            const root = bar.shadowRoot;
            root.querySelector("[part=detail]").style.color = "#ccc";
            root.querySelector("[role=progressbar]").ariaLabel = "";
        }"""
    )
    found = audited(page, node_modules)

    assert {fault.partition(":")[0] for fault in found["faults"]} >= {"color-contrast", "aria-progressbar-name"}
