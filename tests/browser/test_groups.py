"""Many bars summed up in one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.gallery.stub import Record, Stub, record
from tests.browser.test_component import Lab

ROWS: Record = {"total": 100, "unit": "rows"}
MAKE = """async ([keys, attributes]) => {
    await import("/progress/progress-group.js");
    const group = document.createElement("progress-group");
    for (const [name, value] of Object.entries({ id: "group", ...attributes })) group.setAttribute(name, value);
    document.querySelector("main").append(group);
    new MutationObserver(() => lab.spoken.push(group.shadowRoot.querySelector("[role=status]").textContent))
        .observe(group.shadowRoot.querySelector("[role=status]"), { childList: true });
    lab.fill = (...keys) => keys.forEach(key => {
        const bar = document.createElement("progress-bar");
        bar.id = key;
        bar.setAttribute("src", `/progress/${key}/`);
        group.append(bar);
    });
    lab.fill(...keys);
}"""


class Bench:
    """A page with one group on it."""

    def __init__(self, page: Page, stub: Stub) -> None:
        self.lab, self.page, self.stub = Lab(page, stub), page, stub

    def open(self, *keys: str, clock: bool = False, **attributes: str) -> Locator:
        self.lab.open(clock=clock)
        self.page.evaluate(MAKE, [keys, {"label": "Nightly import", **attributes}])
        return self.group

    def add(self, *keys: str) -> None:
        self.page.evaluate("keys => lab.fill(...keys)", keys)

    @property
    def group(self) -> Locator:
        return self.page.locator("progress-group")

    def part(self, name: str) -> Locator:
        """Give a part of the group's own, not of the bars in it."""
        return self.group.locator(f"[part=bar]:has([part=toggle]) [part={name}]")

    def expect_counts(self, *texts: str) -> None:
        expect(self.group.locator("[part=count]")).to_have_text([*texts])

    def events(self, kind: str) -> list[Any]:
        return self.lab.events(kind, "group")


@pytest.fixture
def bench(page: Page, stub: Stub) -> Bench:
    return Bench(page, stub)


def test_a_group_sums_up_its_bars(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(current=50, **ROWS, description="Importing orders"))
    stub.put("b", record(current=25, **ROWS, description="Importing customers"))
    stub.put("c", record(current=100, **ROWS, state="succeeded"))
    stub.put("d", record(state="pending"))
    bench.open(*"abcd")

    expect(bench.group).to_have_attribute("data-state", "running")
    expect(bench.part("label")).to_have_text("Nightly import")
    expect(bench.part("percent")).to_have_text("43%")  # of 175 in 400
    expect(bench.part("detail")).to_have_text("1 of 4 done")
    bench.expect_counts("2 running", "1 waiting")
    expect(bench.part("now")).to_have_text("Importing orders, Importing customers")
    expect(bench.part("track")).to_have_attribute("aria-valuetext", "43%, 1 of 4 done")
    assert len(stub.log) == 1  # one stream for them all


def test_a_group_has_its_name_before_anything_is_known(bench: Bench) -> None:
    bench.open("a")

    expect(bench.group).to_have_attribute("data-state", "connecting")
    expect(bench.part("label")).to_have_text("Nightly import")
    expect(bench.part("track")).to_have_accessible_name("Nightly import")
    bench.group.evaluate("group => group.setAttribute('label', 'Daily import')")
    expect(bench.part("label")).to_have_text("Daily import")


def test_each_bar_is_counted_once(bench: Bench, stub: Stub) -> None:
    stub.fill_gallery()
    keys = ["running", "retrying", "stalled", "cancelling", "failed", "cancelled", "pending", "succeeded"]
    bench.open(*keys, "refused", "nothing")

    bench.expect_counts("1 running", "1 retrying", "1 stalled", "1 cancelling", "2 failed", "1 cancelled", "2 waiting")
    expect(bench.part("detail")).to_have_text("1 of 10 done")


def test_more_jobs_than_can_be_named_are_counted(bench: Bench, stub: Stub) -> None:
    for key in "abcde":
        stub.put(key, record(description=f"Job {key}"))
    bench.open(*"abcde")

    expect(bench.part("now")).to_have_text("Job a, Job b, Job c, 2 more")


def test_the_bars_are_shown_and_hidden_with_a_key(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(current=50, **ROWS, description="Importing orders"))
    bench.open("a")
    toggle = bench.group.get_by_role("button", name="Nightly import")
    expect(bench.part("now")).to_have_text("Importing orders")
    expect(toggle).to_have_attribute("aria-expanded", "false")
    expect(bench.lab.bar("a")).to_be_hidden()
    toggle.press("Enter")

    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(bench.lab.bar("a")).to_be_visible()
    expect(bench.part("now")).to_be_empty()
    toggle.click()
    expect(bench.lab.bar("a")).to_be_hidden()
    bench.group.evaluate("group => group.setAttribute('open', '')")
    expect(bench.lab.bar("a")).to_be_visible()


@pytest.mark.parametrize(
    ("state", "error", "detail", "counts"),
    [
        ("succeeded", None, "Done in 42s · 2 of 2 done", []),
        ("failed", {"type": "ValueError", "message": None}, "Failed · 1 of 2 done", ["1 failed"]),
        ("cancelled", None, "Stopped early · 1 of 2 done", ["1 cancelled"]),
    ],
)
def test_a_group_ends_once_with_its_last_bar(
    bench: Bench, stub: Stub, state: str, error: Any, detail: str, counts: list[str]
) -> None:
    began, later, end = (f"2026-01-01T00:00:{seconds}.000Z" for seconds in ("10", "20", "52"))
    stub.put("a", record(1, current=100, **ROWS, state="succeeded", started_at=began, finished_at=later))
    stub.put("b", record(1, current=50, **ROWS, started_at=later))
    bench.open(*"ab")
    expect(bench.part("percent")).to_have_text("75%")
    assert bench.events("done") == []
    stub.put("b", record(2, current=60, **ROWS, state=state, error=error, started_at=later, finished_at=end))

    expect(bench.group).to_have_attribute("data-state", state)
    expect(bench.part("detail")).to_have_text(detail)
    bench.expect_counts(*counts)
    (ended,) = bench.events("done")
    assert (ended["detail"]["state"], ended["detail"]["total"]) == (state, 2)
    expect(bench.part("percent")).to_have_text("100%" if state == "succeeded" else "80%")


def test_bars_that_come_go_or_get_another_job_are_counted_again(bench: Bench, stub: Stub) -> None:
    for key, current in {"a": 100, "b": 50, "c": 20}.items():
        stub.put(key, record(current=current, **ROWS, state="succeeded" if key == "a" else "running"))
    bench.open("a")
    expect(bench.group).to_have_attribute("data-state", "succeeded")
    bench.add("b")
    expect(bench.part("percent")).to_have_text("75%")
    expect(bench.group).to_have_attribute("data-state", "running")
    bench.lab.bar("a").evaluate("bar => bar.remove()")
    expect(bench.part("percent")).to_have_text("50%")
    bench.lab.bar("b").evaluate("bar => bar.setAttribute('src', '/progress/c/')")
    expect(bench.part("percent")).to_have_text("20%")
    bench.group.evaluate("group => group.replaceChildren()")

    expect(bench.group).to_have_attribute("data-state", "pending")


def test_a_group_that_is_moved_goes_on(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=50, **ROWS))
    bench.open("a")
    expect(bench.part("percent")).to_have_text("50%")
    bench.group.evaluate("group => document.body.append(group)")
    stub.put("a", record(2, current=60, **ROWS))

    expect(bench.part("percent")).to_have_text("60%")


def test_a_group_in_a_group_counts_for_both(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(current=50, **ROWS))
    stub.put("b", record(current=100, **ROWS))
    bench.open("a", open="")
    bench.group.evaluate(
        """group => {
            const inner = document.createElement("progress-group");
            inner.id = "inner";
            group.append(inner);
            inner.append(Object.assign(document.createElement("progress-bar"), { id: "b" }));
            inner.firstChild.setAttribute("src", "/progress/b/");
        }"""
    )

    expect(bench.page.locator("#inner [part=track]").first).to_have_attribute("aria-valuenow", "99")
    bench.page.wait_for_function("() => document.querySelector('#group').job?.percent === 74.99")


def test_what_stalls_is_the_group_when_nothing_else_runs(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=50, **ROWS, stalled=True))
    stub.put("b", record(1, current=50, **ROWS))
    bench.open(*"ab")
    expect(bench.group).to_have_attribute("data-state", "running")
    stub.put("b", record(1, current=50, **ROWS, stalled=True))

    expect(bench.group).to_have_attribute("data-state", "stalled")


def test_the_time_left_is_that_of_the_slowest_and_none_before_all_are_known(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=50, **ROWS, eta=10))
    stub.put("b", record(1, current=50, **ROWS))
    bench.open(*"ab", clock=True)
    bench.page.clock.run_for(100)
    bench.page.wait_for_function("() => document.querySelectorAll('progress-bar').length === 2")
    bench.lab.pass_time(3, until=lambda: bench.events("progress"))
    bench.lab.pass_time(2)
    expect(bench.part("detail")).to_have_text("0 of 2 done")
    stub.put("b", record(2, current=51, **ROWS, eta=60))
    bench.page.wait_for_function("() => document.querySelector('#b').job?.eta === 60")
    bench.page.clock.run_for(100)
    expect(bench.part("detail")).to_have_text("0 of 2 done · about a minute left")
    bench.lab.pass_time(20)

    expect(bench.part("detail")).to_have_text("0 of 2 done · about 40 seconds left")


def test_what_changes_at_once_is_added_up_once(bench: Bench, stub: Stub) -> None:
    keys = [f"job-{number}" for number in range(50)]
    for key in keys:
        stub.put(key, record(1, current=1, **ROWS))
    bench.open(*keys, clock=True)
    everything = "seq => [...document.querySelectorAll('progress-bar')].every(bar => bar.job?.current === seq)"
    bench.page.clock.run_for(30)
    bench.page.wait_for_function(everything, arg=1)
    bench.page.clock.run_for(100)
    before = len(bench.events("progress"))
    for key in keys:
        stub.put(key, record(2, current=2, **ROWS))
    bench.page.wait_for_function(everything, arg=2)
    bench.page.clock.run_for(100)

    assert len(bench.events("progress")) == before + 1
    expect(bench.part("percent")).to_have_text("2%")


def test_cancelling_the_group_cancels_each_job_that_is_not_over(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    stub.put("b", record(1, current=1, **ROWS))
    stub.put("c", record(1, current=100, **ROWS, state="succeeded"))
    bench.open(*"abc", cancel="")
    expect(bench.part("detail")).to_have_text("1 of 3 done")
    bench.part("cancel").click()

    expect(bench.group).to_have_attribute("data-state", "cancelling")
    stub.until(lambda: len([request for request in stub.log if request.method == "POST"]) == 2)
    asked = {request.path for request in stub.log if request.method == "POST"}
    assert asked == {"/progress/a/cancel/", "/progress/b/cancel/"}
    for key in "ab":
        stub.put(key, record(2, current=1, **ROWS, state="cancelled"))
    expect(bench.group).to_have_attribute("data-state", "cancelled")


def test_a_cancel_that_fails_is_reported_and_can_be_tried_again(bench: Bench, stub: Stub) -> None:
    stub.cancel_status = 500
    stub.put("a", record(1, current=1, **ROWS))
    bench.open("a", cancel="")
    expect(bench.part("detail")).to_have_text("0 of 1 done")
    bench.part("cancel").click()
    bench.expect_counts("1 running", "Could not cancel")
    expect(bench.part("cancel")).to_have_text("Cancel")
    stub.cancel_status = 202
    bench.part("cancel").click()

    expect(bench.part("cancel")).to_have_text("Cancelling…")
    bench.expect_counts("1 cancelling")


def test_a_cancel_of_what_stalls_is_no_failure(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS, stalled=True))
    bench.open("a", cancel="")
    bench.expect_counts("1 stalled")
    with bench.page.expect_response("**/cancel/"):
        bench.part("cancel").click()
    bench.page.wait_for_function("() => document.querySelector('#a').job?.cancel_requested")
    stub.put("a", record(2, current=2, **ROWS, cancel_requested=True))

    bench.expect_counts("1 cancelling")


def test_words_can_be_replaced_also_before_the_group_is_loaded(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    bench.page.add_init_script(
        """addEventListener("DOMContentLoaded", async () => {
            const { configure } = await import("/progress/progresskit.js");
            configure({ strings: { nRunning: "{n} laufen", someOf: "{current} von {total} {unit}" } });
        })"""
    )
    bench.open("a")
    bench.expect_counts("1 laufen")
    bench.group.evaluate("group => { group.strings = { done: 'fertig', nRunning: '{n} in Arbeit' } }")

    bench.expect_counts("1 in Arbeit")
    stub.put("a", record(2, current=2, **ROWS))
    expect(bench.part("detail")).to_have_text("0 von 1 fertig")


def test_only_milestones_of_the_whole_are_spoken(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=10, **ROWS, started_at=None))
    stub.put("b", record(1, current=10, **ROWS, started_at=None))
    bench.open(*"ab")
    shown = "percent => document.querySelector('#group').job?.percent === percent"
    bench.page.wait_for_function(shown, arg=10)
    for seq, (current, percent) in enumerate([(20, 15), (40, 25), (60, 35), (90, 50)], 2):
        stub.put("a", record(seq, current=current, **ROWS, started_at=None))
        bench.page.wait_for_function(shown, arg=percent)
    stub.put("b", record(2, current=100, **ROWS, state="succeeded", started_at=None))
    bench.page.wait_for_function(shown, arg=95)
    stub.put("a", record(9, current=100, **ROWS, state="succeeded", started_at=None))
    expect(bench.group).to_have_attribute("data-state", "succeeded")

    assert bench.page.evaluate("lab.spoken") == [
        "Nightly import: 25%",
        "Nightly import: 50%",
        "Nightly import: 95%",
        "Nightly import: Done",
    ]


def test_a_group_says_when_the_server_cannot_be_reached(bench: Bench, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    bench.open("a")
    bench.expect_counts("1 running")
    stub.stop()
    bench.expect_counts("Reconnecting…", "1 running")
    stub.start()

    bench.expect_counts("1 running")
