"""The tabs of one browser, which share a connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser.conftest import PATIENCE_MS
from tests.browser.gallery.stub import Record, Stub, record
from tests.browser.test_component import Lab

ROWS: Record = {"total": 100, "unit": "rows", "description": "Importing"}

HEAR_LATE = """
    const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, "onmessage");
    Object.defineProperty(BroadcastChannel.prototype, "onmessage", {
        set(hear) {
            set.call(this, (event) => setTimeout(hear, 300, event));
        },
    });
"""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


def open_tab(context: BrowserContext, stub: Stub, *keys: str, clock: bool = True) -> Lab:
    """Open a page that shows these bars; with `clock`, the time that all tabs share passes only when the test says."""
    lab = Lab(context.new_page(), stub)
    lab.open(*keys, clock=clock and len(context.pages) == 1)
    if clock:
        context.clock.run_for(30)
    return lab


def lead_for(lab: Lab, *keys: str) -> None:
    """Have a page that leads ask for these keys once it knows that the tabs want them."""
    lab.page.wait_for_function("keys => `${document.querySelector('#a').channel?.keys}` === keys", arg=",".join(keys))
    lab.page.clock.run_for(30)


def expect_all(labs: list[Lab], percent: int, key: str = "a") -> None:
    for lab in labs:
        expect(lab.part("percent", key)).to_have_text(f"{percent}%")


def test_the_tabs_of_a_browser_share_one_stream(context: BrowserContext, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a")]
    expect_all(labs, 1)
    labs += [open_tab(context, stub, "a") for _ in range(3)]
    expect_all(labs, 1)
    stub.put("a", record(2, current=2, **ROWS))
    expect_all(labs, 2)
    stub.put("a", record(3, current=100, **ROWS, state="succeeded"))
    for lab in labs:
        expect(lab.bar("a")).to_have_attribute("data-state", "succeeded")
        assert [event["detail"]["current"] for event in lab.events("done")] == [100]

    assert len(stub.log) == 1


def test_a_tab_that_hears_late_of_the_end_does_not_lead_before_and_ask_again(
    context: BrowserContext, stub: Stub
) -> None:
    context.add_init_script(HEAR_LATE)
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a", clock=False) for _ in range(2)]
    expect_all(labs, 1)
    stub.put("a", record(2, current=100, **ROWS, state="succeeded"))
    for lab in labs:
        expect(lab.bar("a")).to_have_attribute("data-state", "succeeded")

    assert len(stub.stream_requests) == 1


def test_a_tab_has_the_leader_add_its_keys_and_take_them_out_when_it_goes(context: BrowserContext, stub: Stub) -> None:
    for key in "abc":
        stub.put(key, record(1, current=1, **ROWS))
    first = open_tab(context, stub, "a")
    expect_all([first], 1)
    second = open_tab(context, stub, "a", "b")
    lead_for(first, "a", "b")
    expect_all([second], 1, "b")
    second.page.goto("about:blank")
    lead_for(first, "a")
    third = open_tab(context, stub, "c")
    lead_for(first, "a", "c")
    expect_all([third], 1, "c")

    assert [request.keys for request in stub.log] == [["a"], ["a", "b"], ["a", "c"]]
    stub.until(lambda: stub.open_streams == 1)


def test_the_next_tab_leads_when_the_leader_is_closed(context: BrowserContext, stub: Stub) -> None:
    for key in "ab":
        stub.put(key, record(1, current=1, **ROWS))
    first = open_tab(context, stub, "a")
    expect_all([first], 1)
    others = [open_tab(context, stub, "a", "b") for _ in range(2)]
    lead_for(first, "a", "b")
    expect_all(others, 1)
    expect_all(others, 1, "b")
    asked = len(stub.log)
    # Where the next leader hears of the other tab after the end of b, it asks for that once more, a moment later.
    context.clock.resume()
    first.page.close()
    stub.until(lambda: len(stub.log) > asked)
    stub.put("a", record(2, current=2, **ROWS))
    stub.put("b", record(2, current=100, **ROWS, state="failed"))

    expect_all(others, 2)
    for lab in others:
        expect(lab.bar("b")).to_have_attribute("data-state", "failed")
    stub.until(lambda: stub.open_streams == 1)


def test_a_hidden_leader_hands_over_and_is_updated_by_the_next(context: BrowserContext, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a") for _ in range(2)]
    expect_all(labs, 1)
    labs[0].page.evaluate("lab.setHidden(true)")
    stub.until(lambda: len(stub.stream_requests) == 2 and stub.open_streams == 1)
    stub.put("a", record(2, current=2, **ROWS))
    expect_all(labs, 2)
    labs[0].page.evaluate("lab.setHidden(false)")
    stub.put("a", record(3, current=3, **ROWS))
    expect_all(labs, 3)

    assert (len(stub.stream_requests), stub.polls) == (2, [])


def test_a_leader_that_is_asked_to_freeze_hands_over_and_catches_up_when_it_resumes(
    context: BrowserContext, stub: Stub
) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a") for _ in range(2)]
    expect_all(labs, 1)
    # No headless browser freezes a page that it shows: the page is only told that it will be.
    labs[0].page.evaluate("document.dispatchEvent(new Event('freeze'))")
    stub.until(lambda: len(stub.stream_requests) == 2 and stub.open_streams == 1)
    stub.put("a", record(2, current=100, **ROWS, state="succeeded"))
    expect(labs[1].bar("a")).to_have_attribute("data-state", "succeeded")
    labs[0].page.evaluate("document.dispatchEvent(new Event('resume'))")

    expect(labs[0].bar("a")).to_have_attribute("data-state", "succeeded")


def test_a_leader_that_falls_silent_is_replaced(context: BrowserContext, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    first = open_tab(context, stub, "a")
    expect_all([first], 1)
    second = open_tab(context, stub, "a")
    expect_all([second], 1)
    first.page.evaluate(
        """() => {
            const { postMessage } = BroadcastChannel.prototype;
            BroadcastChannel.prototype.postMessage = function (said) {
                if (said.wants) postMessage.call(this, said);
            };
        }"""
    )
    second.pass_time(20, until=lambda: len(stub.stream_requests) > 1)
    stub.until(lambda: len(stub.stream_requests) == 2 and stub.open_streams == 1)
    stub.put("a", record(2, current=2, **ROWS))

    expect_all([first, second], 2)


def test_without_locks_each_page_has_its_own_stream(context: BrowserContext, stub: Stub) -> None:
    context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a") for _ in range(2)]
    expect_all(labs, 1)

    stub.until(lambda: stub.open_streams == 2)


def test_where_locks_are_forbidden_a_page_goes_by_itself(context: BrowserContext, stub: Stub) -> None:
    context.add_init_script(
        "navigator.locks.request = async () => { throw new DOMException('sandboxed', 'SecurityError') }"
    )
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a") for _ in range(2)]
    expect_all(labs, 1)

    stub.until(lambda: stub.open_streams == 2)


def test_twenty_pages_end_right_after_their_server_was_killed_and_started_again(
    context: BrowserContext, stub: Stub
) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    labs = [open_tab(context, stub, "a", clock=False) for _ in range(20)]
    expect_all(labs, 1)
    stub.stop()
    expect(labs[-1].part("status")).to_have_text("Reconnecting…")
    stub.put("a", record(2, current=100, **ROWS, state="succeeded"))
    stub.start()
    for lab in labs:
        expect(lab.bar("a")).to_have_attribute("data-state", "succeeded")
        assert len(lab.events("done")) == 1
