"""The browser component against a server that is only a wire."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from progresskit import wording
from tests.browser.gallery.stub import COMPONENT, Record, Stub, moment, record

ROWS: Record = {"total": 100, "unit": "rows", "description": "Importing"}
CLOSED = 2  # as an EventSource says it


class Lab:
    """A page with bars, and what they did."""

    def __init__(self, page: Page, stub: Stub) -> None:
        self.page = page
        self.stub = stub

    def open(self, *keys: str, clock: bool = False, **attributes: str) -> Locator:
        """Show bars of these keys; with `clock`, the page's time passes only when the test says so."""
        now = datetime.now(UTC)
        if clock:
            self.page.clock.install(time=now - timedelta(hours=1))
        self.page.goto(f"{self.stub.url}/bars.html")
        self.page.wait_for_selector("html[data-ready]")
        if clock:
            self.page.clock.pause_at(now)
        return self.add(*keys, **attributes)

    def add(self, *keys: str, **attributes: str) -> Locator:
        self.page.evaluate("([keys, attributes]) => lab.add(keys, attributes)", [keys, attributes])
        return self.bar(keys[0]) if keys else self.page.locator("progress-bar")

    def bar(self, key: str) -> Locator:
        return self.page.locator(f"progress-bar[id='{key}']")

    def bar_without_id(self) -> Locator:
        return self.page.locator("progress-bar:not([id])")

    def part(self, name: str, key: str = "a") -> Locator:
        return self.bar(key).locator(f"[part={name}]")

    def events(self, kind: str, key: str = "a") -> list[Any]:
        return [event for event in self.page.evaluate("lab.events") if event["type"] == kind and event["key"] == key]

    def job(self, key: str = "a") -> Record | None:
        job: Record | None = self.bar(key).evaluate("bar => bar.job")
        return job

    def pass_time(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """Let the page's clock run, second by second, with the answers to its requests in between."""
        self.settle()
        for _ in range(int(seconds)):
            if until():
                return
            self.page.clock.run_for(1_000)
            self.settle()

    def settle(self) -> None:
        """Wait until all that the page has asked for is answered, which takes none of its own time."""
        self.page.wait_for_function("() => lab.underWay === 0")


@pytest.fixture
def lab(page: Page, stub: Stub) -> Lab:
    return Lab(page, stub)


# ---- what is shown


def test_a_bar_shows_how_far_its_job_is_and_moves_with_it(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=29, **ROWS, rate=12.5))
    lab.open("a")

    expect(lab.part("label")).to_have_text("Importing")
    expect(lab.part("percent")).to_have_text("29%")
    expect(lab.part("detail")).to_have_text("29 of 100 rows · 12.5 rows/s")
    for current in (30, 50, 99):
        stub.put("a", record(current, current=current, **ROWS))
        expect(lab.part("track")).to_have_attribute("aria-valuenow", str(current))
        share = lab.part("fill").evaluate(
            """async fill => {
                await Promise.all(fill.getAnimations().map(animation => animation.finished));
                const track = fill.parentElement.getBoundingClientRect();
                return (fill.getBoundingClientRect().right - track.left) / track.width;
            }"""
        )
        assert share == pytest.approx(current / 100, abs=0.01)
    stub.put("a", record(100, current=100, **ROWS, state="succeeded"))
    expect(lab.part("percent")).to_have_text("100%")


def test_a_bar_moves_from_its_first_record_however_soon_the_next_one_comes(lab: Lab) -> None:
    lab.open("a")
    share = lab.bar("a").evaluate(
        """(bar, records) => {
            for (const record of records) bar.receive(record);
            const [fill, track] = ["fill", "track"].map(
                (name) => bar.shadowRoot.querySelector(`[part=${name}]`).getBoundingClientRect());
            return (fill.right - track.left) / track.width;
        }""",
        [record(1, current=70, **ROWS), record(2, current=71, **ROWS)],
    )

    assert share == pytest.approx(0.7, abs=0.011)


@pytest.mark.parametrize(
    ("fields", "state", "text"),
    [
        ({"state": "pending", "started_at": None}, "pending", "Waiting"),
        ({"stalled": True, "updated_at": None}, "stalled", "Stalled · 29 of 100 rows"),
        ({"cancel_requested": True}, "cancelling", "Cancelling… · 29 of 100 rows"),
        ({"attempt": 2, "rate": 0.25}, "running", "29 of 100 rows · 15 rows/min · attempt 2"),
    ],
)
def test_each_state_is_reported_in_words(lab: Lab, stub: Stub, fields: Record, state: str, text: str) -> None:
    stub.put("a", record(current=29, **ROWS, **fields))

    expect(lab.open("a")).to_have_attribute("data-state", state)
    expect(lab.part("label")).to_have_text("Importing")
    expect(lab.part("detail")).to_have_text(text)


STEPS = [
    {"name": "Download", "weight": 1, "state": "succeeded", "percent": 100},
    {"name": "<b>Parse</b> {n}", "weight": 3, "state": "running", "percent": 29},
]


@pytest.mark.parametrize(
    ("fields", "text", "cuts"),
    [
        ({"steps": STEPS, "step": 2}, "step 2 of 2: <b>Parse</b> {n} · 29 of 100 rows", 1),
        (
            {"steps": STEPS, "step": 2, "state": "failed"},
            "step 2 of 2: <b>Parse</b> {n} · Importing · 29 of 100 rows",
            1,
        ),
        ({"steps": STEPS, "step": 2, "state": "succeeded"}, "Importing · 29 of 100 rows", 1),
        ({"steps": [{**STEPS[0], "weight": None}] * 2, "step": 2}, "step 2: Download · 29 of 100 rows", 0),
        ({"steps": None, "step": 3}, "step 3 · 29 of 100 rows", 0),
        ({"steps": None, "step": 1}, "29 of 100 rows", 0),
    ],
)
def test_a_job_with_steps_shows_the_current_one_and_a_segment_for_each(
    lab: Lab, stub: Stub, fields: Record, text: str, cuts: int
) -> None:
    stub.put("a", record(current=29, **ROWS, **fields))
    lab.open("a")

    expect(lab.part("detail")).to_have_text(text)
    mask = lab.part("track").evaluate("(track) => getComputedStyle(track).maskImage")
    assert mask.count("calc(25% - 1px)") == cuts
    assert (mask == "none") is (not cuts)
    if fields.get("state") is None:
        assert text.partition(" · ")[0] in (lab.part("track").get_attribute("aria-valuetext") or "")


PARTS = {"size": 1_500, "succeeded": 37, "failed": 1_002, "cancelled": 1, "running": 8}
ALBUM: Record = {"current": 37, "total": 1_500, "unit": "pictures", "description": "Resizing", "percent": 3.5}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"parts": PARTS}, "37 of 1,500 pictures · 1,002 failed"),
        ({"parts": {**PARTS, "failed": 0}}, "37 of 1,500 pictures"),
        ({"parts": {**PARTS, "size": None}, "total": None}, "37 pictures · 1,002 failed"),
        ({"parts": {**PARTS, "running": 0}, "state": "failed"}, "Resizing · 37 of 1,500 pictures · 1,002 failed"),
    ],
)
def test_a_job_made_of_parts_shows_how_many_succeeded_and_how_many_failed(
    lab: Lab, stub: Stub, fields: Record, text: str
) -> None:
    stub.put("a", record(**{**ALBUM, **fields}))
    lab.open("a")

    expect(lab.part("detail")).to_have_text(text)
    failed = re.findall("1,002 failed", text)
    expect(lab.part("failed")).to_have_text(failed)
    assert (lab.part("track").get_attribute("aria-valuetext") or "").endswith((*failed, "pictures")[0])


def test_another_step_is_spoken(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=29, **ROWS, steps=STEPS, step=1, percent=7.25))
    lab.open("a")
    expect(lab.part("detail")).to_contain_text("step 1 of 2: Download")
    stub.put("a", record(2, current=29, **ROWS, steps=STEPS, step=2, percent=7.3))
    expect(lab.part("said")).to_have_text("Importing: 7%, step 2 of 2: <b>Parse</b> {n}")


@pytest.mark.parametrize(
    ("fields", "state", "label", "detail"),
    [
        ({"state": "succeeded"}, "succeeded", "Done in 18s", "Importing · 29 of 100 rows"),
        ({"state": "cancelled", "cancel_requested": True}, "cancelled", "Cancelled", "Importing · 29 of 100 rows"),
        ({"state": "cancelled"}, "cancelled", "Stopped early", "Importing · 29 of 100 rows"),
        (
            {"state": "failed", "error": {"type": "Error", "message": "The disk is full"}},
            "failed",
            "Failed",
            "The disk is full · Importing · 29 of 100 rows",
        ),
        (
            {"state": "failed", "error": {"type": "KeyError", "message": None}},
            "failed",
            "Failed",
            "KeyError · Importing · 29 of 100 rows",
        ),
    ],
)
def test_a_finished_job_shows_its_end_first(
    lab: Lab, stub: Stub, fields: Record, state: str, label: str, detail: str
) -> None:
    stub.put("a", record(current=29, **ROWS, **fields))

    expect(lab.open("a")).to_have_attribute("data-state", state)
    expect(lab.part("label")).to_have_text(label)
    expect(lab.part("detail")).to_have_text(detail)
    expect(lab.part("track")).to_have_accessible_name("Importing")


def test_a_finished_job_without_a_description_shows_its_end_once(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, total=100, unit="rows", state="cancelled"))
    lab.open("a")

    expect(lab.part("label")).to_have_text("Stopped early")
    expect(lab.part("detail")).to_have_text("29 of 100 rows")


def test_a_stalled_job_says_since_when(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, **ROWS, stalled=True, updated_at=moment(-192)))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)

    expect(lab.part("detail")).to_have_text(re.compile(r"^Stalled, last report 3m 1[2-9]s ago\s· 29 of 100 rows$"))
    lab.pass_time(60)
    expect(lab.part("detail")).to_have_text(re.compile(r"^Stalled, last report 4m 1[2-9]s ago\s· 29 of 100 rows$"))


def test_a_job_without_a_total_has_no_percentage_and_no_valuenow(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=4, unit="files"))
    lab.open("a")

    expect(lab.part("label")).to_have_text("Working")
    expect(lab.part("track")).to_have_attribute("aria-valuetext", "4 files")
    expect(lab.part("percent")).to_be_empty()
    expect(lab.part("track")).to_have_role("progressbar")
    assert not lab.part("track").evaluate("track => track.hasAttribute('aria-valuenow')")
    assert lab.part("fill").evaluate("fill => fill.getAnimations().length") == 1


def test_bytes_are_counted_in_powers_of_1024(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=1_536, total=3 << 30, unit="B", rate=5 << 20))
    lab.open("a")

    expect(lab.part("detail")).to_have_text("1.5 KiB of 3 GiB · 5 MiB/s")


@pytest.mark.parametrize(
    ("rate", "unit", "text"),
    [
        (12_840.4, "rows", "12,840 rows/s"),
        (100.4, "rows", "100 rows/s"),
        (99.96, "rows", "100 rows/s"),
        (12.345, "rows", "12.3 rows/s"),
        (1, "rows", "1 rows/s"),
        (0.9, "rows", "54 rows/min"),
        (1 / 60, "rows", "1 rows/min"),
        (0.0042, "rows", "15.1 rows/h"),
        (38_100_000, "B", "36.3 MiB/s"),
        (130 << 20, "B", "130 MiB/s"),
        (5.25 * 1024, "B", "5.25 KiB/s"),
        (0.5, "B", "30 B/min"),
        (2.5, None, "2.5/s"),
    ],
)
def test_a_rate_has_three_digits_and_the_span_that_suits_it_as_in_a_terminal(
    lab: Lab, stub: Stub, rate: float, unit: str | None, text: str
) -> None:
    stub.put("a", record(unit=unit, rate=rate))
    lab.open("a")

    expect(lab.part("detail")).to_have_text(text)
    assert wording.rate(rate, unit) == text


LEFT = [
    (None, ""),
    (0.9, ""),
    (1, "a few seconds left"),
    (9.9, "a few seconds left"),
    (10, "about 10 seconds left"),
    (13, "about 15 seconds left"),
    (24, "about 20 seconds left"),
    (26, "about 30 seconds left"),
    (54.9, "about 50 seconds left"),
    (55, "about a minute left"),
    (89, "about a minute left"),
    (90, "about 2 minutes left"),
    (172, "about 3 minutes left"),
    (3_299, "about 55 minutes left"),
    (3_300, "about an hour left"),
    (5_399, "about an hour left"),
    (5_400, "about 2 hours left"),
    (23.4 * 3_600, "about 23 hours left"),
    (23.6 * 3_600, "about a day left"),
    (35 * 3_600, "about a day left"),
    (36 * 3_600, "about 2 days left"),
    (400 * 86_400, "about 400 days left"),
]
SHOW_ETAS = """(bar, etas) => etas.map((eta, n) => {
    const updated_at = new Date().toISOString();
    const version = `1.1.${n}`;
    bar.receive({ state: "running", current: 0, total: null, eta, updated_at, version, cursor: version });
    return bar.shadowRoot.querySelector("[part=detail]").textContent;
})"""
SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


def test_the_time_left_is_rounded_as_people_say_it(lab: Lab) -> None:
    shown = lab.open("a", clock=True).evaluate(SHOW_ETAS, [eta for eta, _ in LEFT])

    assert shown == [text for _, text in LEFT]


def test_less_time_left_never_shows_as_more_and_as_much_as_in_a_terminal(lab: Lab) -> None:
    etas = [1.01**n for n in range(1_500, -10, -1)]
    shown = lab.open("a", clock=True).evaluate(SHOW_ETAS, etas)

    assert shown[-1] == ""
    assert shown == [wording.time_left(eta) for eta in etas]
    values = [seconds_of(text) for text in shown]
    assert values == sorted(values, reverse=True)
    assert all(0.6 < value / eta < 1.7 for value, eta in zip(values, etas, strict=True) if eta >= 10)


def seconds_of(text: str) -> float:
    """Return what a text of the time left says."""
    if not text or text == "a few seconds left":
        return 5 * bool(text)
    number, unit = re.fullmatch(r"about (an?|[\d,]+) (\w+?)s? left", text).groups()  # type: ignore[union-attr]
    return SECONDS[unit] * (1 if number in ("a", "an") else int(number.replace(",", "")))


def test_the_time_left_counts_down_by_itself(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, **ROWS, eta=62))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)

    expect(lab.part("detail")).to_have_text("29 of 100 rows · about a minute left")
    lab.pass_time(10)
    expect(lab.part("detail")).to_have_text("29 of 100 rows · about 50 seconds left")
    stub.put("a", record(current=29, **ROWS, eta=62, stalled=True))
    expect(lab.part("status")).to_have_text(re.compile("^Stalled"))


def test_the_rate_and_the_time_left_are_of_the_same_record(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=29, **ROWS, rate=1, eta=3_000))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)
    expect(lab.part("detail")).to_have_text("29 of 100 rows · 1 rows/s · about 50 minutes left")
    stub.put("a", record(2, current=29, **ROWS, rate=10, eta=300))

    expect(lab.part("detail")).to_have_text("29 of 100 rows · 10 rows/s · about 5 minutes left")


def test_who_comes_late_is_shown_what_is_left_by_now(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, **ROWS, eta=62, updated_at=moment(-30)))
    lab.open("a")

    expect(lab.part("detail")).to_have_text("29 of 100 rows · about 30 seconds left")


@pytest.mark.parametrize("ahead", [-3_600, 3_600])
def test_a_clock_that_is_wrong_is_put_right_by_what_comes_live(lab: Lab, stub: Stub, ahead: float) -> None:
    stub.put("a", record(1, current=29, **ROWS, eta=62, updated_at=moment(-ahead)))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)
    expect(lab.part("detail")).to_have_text("29 of 100 rows" + " · about a minute left" * (ahead < 0))
    stub.put("a", record(2, current=30, **ROWS, eta=62, updated_at=moment(-ahead)))

    expect(lab.part("detail")).to_have_text("30 of 100 rows · about a minute left")


def test_the_words_of_the_time_left_can_be_replaced(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(eta=170))
    lab.open("a", lang="de")
    lab.page.evaluate("lab.configure({strings: {left: 'noch etwa {time}'}})")

    expect(lab.part("detail")).to_have_text("noch etwa 3 Minuten")


def test_the_next_attempt_is_counted_down_to(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(state="retrying", current=29, **ROWS, attempt=2, next_retry_at=moment(90)))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)

    expect(lab.part("status")).to_have_text(re.compile(r"Retrying in 1m (2.|30)s"))
    expect(lab.part("detail")).to_have_text(re.compile("29 of 100 rows.* attempt 2"))
    lab.pass_time(80)
    expect(lab.part("status")).to_have_text(re.compile(r"Retrying in ([789]|10)s"))
    lab.pass_time(20)
    expect(lab.part("status")).to_have_text("Retrying")


def test_numbers_follow_the_language_and_words_can_be_replaced(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=1_234.5, total=20_000, unit="Zeilen"))
    lab.open("a", lang="de", cancel="")

    expect(lab.part("detail")).to_have_text("1.235 of 20.000 Zeilen")
    lab.page.evaluate("lab.configure({strings: {someOf: '{current} von {total} {unit}'}})")
    lab.bar("a").evaluate("bar => { bar.strings = {cancel: 'Abbrechen'} }")
    expect(lab.part("detail")).to_have_text("1.235 von 20.000 Zeilen")
    expect(lab.part("cancel")).to_have_text("Abbrechen")


def test_a_language_that_is_none_does_no_harm(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, **ROWS))
    lab.open("a", lang="not a language")

    expect(lab.part("percent")).to_have_text("29%")


def test_a_reload_paints_at_the_right_place_without_moving_there(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=70, **ROWS))
    lab.open("a")
    expect(lab.part("percent")).to_have_text("70%")
    assert lab.page.evaluate("lab.moves") == 0
    stub.put("a", record(2, current=99, **ROWS))
    lab.page.wait_for_function("() => lab.moves === 1")


def test_only_milestones_are_spoken(lab: Lab, stub: Stub) -> None:
    steps = [record(n, current=n, **ROWS) for n in (30, 40, 51, 60, 76, 99)]
    steps.insert(4, record(60, current=60, **ROWS, stalled=True))
    steps.append(record(100, current=100, **ROWS, state="succeeded", started_at=None))
    stub.put("a", steps[0])
    lab.open("a")
    for step in steps:
        stub.put("a", step)
        lab.page.wait_for_function("cursor => document.querySelector('#a').job?.cursor === cursor", arg=step["cursor"])

    assert lab.page.evaluate("lab.spoken") == [
        "Importing: 51%",
        "Importing: Stalled",
        "Importing: 76%",
        "Importing: Done",
    ]


def test_the_start_and_the_end_of_a_job_made_of_parts_are_spoken_and_failures_as_their_number_doubles(
    lab: Lab, stub: Stub
) -> None:
    lab.open("a", clock=True)
    lab.bar("a").evaluate("bar => { bar.strings = { nFailed: '{n} misslungen', spoken: '{name} – {news}' } }")
    lab.pass_time(2)
    counts = [(0, 0), (10, 0), (10, 1), (11, 1), (12, 2), (12, 3), (24, 3), (25, 3), (25, 5), (94, 6)]
    for seq, (succeeded, failed) in enumerate(counts, 1):
        state = "failed" if seq == len(counts) else "running"
        parts = {**PARTS, "size": 100, "succeeded": succeeded, "failed": failed}
        about: Record = {"description": "Resizing", "current": succeeded, "total": 100, "started_at": None}
        lab.bar("a").evaluate("(bar, job) => bar.receive(job)", record(seq, state=state, parts=parts, **about))

    assert lab.page.evaluate("lab.spoken") == [
        "Resizing – Working",
        "Resizing – 10%, 1 misslungen",
        "Resizing – 12%, 2 misslungen",
        "Resizing – 25%, 3 misslungen",
        "Resizing – 25%, 5 misslungen",
        "Resizing – Failed, 6 misslungen",
    ]


def test_less_motion_is_less_motion(new_page: Callable[..., Page], stub: Stub) -> None:
    lab = Lab(new_page(reduced_motion="reduce"), stub)
    stub.put("a", record(current=4))
    lab.open("a")

    expect(lab.bar("a")).to_have_attribute("data-state", "running")
    assert lab.part("fill").evaluate("fill => fill.getAnimations().length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_shows_under_a_strict_content_security_policy(
    new_page: Callable[..., Page], stub: Stub, scheme: str
) -> None:
    page = new_page(color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    stub.fill_gallery()
    page.goto(stub.url)

    states = {"running", "pending", "retrying", "stalled", "cancelling", "cancelled", "failed", "succeeded", "error"}
    for state in states:
        expect(page.locator(f"progress-bar[data-state={state}]").first).to_be_visible()
    assert page.screenshot(full_page=True)
    assert [text.partition(":")[2].partition(" (")[0] for text in complaints] == [" token refused"]


# ---- what is sent


def test_all_bars_of_a_page_share_one_stream(lab: Lab, stub: Stub) -> None:
    for key in "abc":
        stub.put(key, record(current=1, **ROWS))
    lab.open(*"abc", clock=True)  # a page whose time goes on asks once more where a machine takes seconds for this
    lab.page.clock.run_for(30)
    for key in "abc":
        expect(lab.part("percent", key)).to_have_text("1%")

    assert [request.keys for request in stub.log] == [["a", "b", "c"]]


def test_a_bar_that_comes_later_opens_the_stream_again_once_and_one_that_goes_does_not(lab: Lab, stub: Stub) -> None:
    for key in "abcd":
        stub.put(key, record(current=1, **ROWS))
    lab.open("a", "b")
    expect(lab.part("percent", "b")).to_have_text("1%")
    lab.add("c", "d")
    expect(lab.part("percent", "d")).to_have_text("1%")
    lab.bar("a").evaluate("bar => bar.remove()")
    stub.put("b", record(2, current=2, **ROWS, state="succeeded"))
    stub.put("c", record(2, current=2, **ROWS))
    expect(lab.part("percent", "c")).to_have_text("2%")

    assert [request.keys for request in stub.log] == [["a", "b"], ["a", "b", "c", "d"]]
    stub.until(lambda: stub.open_streams == 1)


def test_a_bar_that_is_moved_goes_on(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a")
    expect(lab.part("percent")).to_have_text("1%")
    lab.bar("a").evaluate("bar => document.body.append(bar)")
    stub.put("a", record(2, current=2, **ROWS))

    expect(lab.part("percent")).to_have_text("2%")
    assert len(stub.log) == 1


def test_a_second_bar_of_the_same_job_needs_no_stream_of_its_own(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a")
    expect(lab.part("percent")).to_have_text("1%")
    lab.add("a", id="twin")

    expect(lab.part("percent", "twin")).to_have_text("1%")
    stub.put("a", record(2, current=2, **ROWS))
    expect(lab.part("percent", "twin")).to_have_text("2%")
    expect(lab.part("percent")).to_have_text("2%")
    assert len(stub.log) == 1


def test_nothing_is_sent_once_every_job_has_ended(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    stub.put("b", record(1, current=1, **ROWS, state="cancelled"))
    lab.open("a", "b", clock=True)
    lab.page.clock.run_for(30)
    expect(lab.part("percent")).to_have_text("1%")
    stub.put("a", record(2, current=100, **ROWS, state="succeeded"))
    expect(lab.bar("a")).to_have_attribute("data-state", "succeeded")
    lab.pass_time(60)

    assert len(stub.log) == 1
    stub.until(lambda: stub.open_streams == 0)


def test_a_hundred_keys_go_on_one_stream_and_the_next_on_another(lab: Lab, stub: Stub) -> None:
    keys = [f"job-{n}" for n in range(101)]
    for key in keys:
        stub.put(key, record(current=1, **ROWS))
    lab.open(*keys, clock=True)
    lab.page.clock.run_for(30)
    expect(lab.part("percent", keys[-1])).to_have_text("1%")
    expect(lab.part("percent", keys[0])).to_have_text("1%")

    assert sorted(len(request.keys) for request in stub.log) == [1, 100]


def test_a_server_that_takes_only_short_addresses_gets_short_ones(lab: Lab, stub: Stub) -> None:
    keys = [f"job-{n}" for n in range(20)]
    for key in keys:
        stub.put(key, record(current=1, **ROWS))
    stub.longest_url = 150
    lab.open(*keys)
    for key in keys:
        expect(lab.part("percent", key)).to_have_text("1%")

    stub.until(lambda: 2 <= stub.open_streams <= 4)


# ---- what goes wrong


def test_a_server_that_is_killed_and_started_again_is_found_again(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a")
    expect(lab.part("percent")).to_have_text("1%")
    stub.stop()
    expect(lab.part("status")).to_have_text("Reconnecting…")
    stub.put("a", record(2, current=2, **ROWS))
    stub.start()

    expect(lab.part("percent")).to_have_text("2%")
    expect(lab.part("status")).to_have_count(0)
    stub.until(lambda: stub.open_streams == 1)
    stub.put("a", record(3, current=100, **ROWS, state="succeeded"))
    expect(lab.part("percent")).to_have_text("100%")


def test_a_stream_that_the_server_ends_is_opened_again_within_a_second(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)
    expect(lab.part("percent")).to_have_text("1%")
    lab.page.clock.run_for(3_000)
    stub.stop()
    lab.page.wait_for_function("() => document.querySelector('#a').channel?.source === null")
    stub.start()
    lab.page.clock.run_for(700)
    stub.until(lambda: stub.open_streams == 1)

    assert len(stub.stream_requests) == 2
    assert stub.polls == []


def test_refused_streams_become_polls_by_themselves_and_end_with_the_job(lab: Lab, stub: Stub) -> None:
    stub.streams = "refused"
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", clock=True)  # by which each stream is short, however busy the machine is
    lab.page.clock.run_for(30)
    expect(lab.part("percent")).to_have_text("1%")
    stub.put("a", record(2, current=2, **ROWS))
    expect(lab.part("percent")).to_have_text("2%")
    stub.put("a", record(3, current=100, **ROWS, state="succeeded"))
    expect(lab.part("percent")).to_have_text("100%")

    assert stub.polls == []
    asked_at = [request.at for request in stub.stream_requests]
    assert len(asked_at) >= 3
    assert min(later - earlier for earlier, later in pairwise(asked_at)) >= stub.retry_ms / 1_000
    assert lab.page.evaluate("lab.streams.map(stream => stream.readyState)") == [CLOSED]


def test_a_key_of_which_refused_streams_know_nothing_ends_in_error_too(lab: Lab, stub: Stub) -> None:
    stub.streams = "refused"
    stub.retry_ms = 20
    lab.open("a", clock=True)
    for _ in range(45):
        lab.pass_time(1)
        if lab.events("error"):
            break
        asked = len(stub.stream_requests)  # the last of them may have been open in that second, and none is for two
        stub.until(lambda asked=asked: len(stub.stream_requests) > asked)  # type: ignore[misc]

    assert [event["detail"] for event in lab.events("error")] == [{"reason": "unknown"}]
    assert len(stub.polls) == 2


def test_a_key_of_which_short_streams_know_nothing_ends_in_error_too(lab: Lab, stub: Stub) -> None:
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)
    for _ in range(20):
        stub.until(lambda: stub.open_streams == 1)
        lab.page.wait_for_function("() => document.querySelector('#a').missingSince")
        lab.page.clock.run_for(3_000)
        stub.end_streams()
        lab.page.wait_for_function("() => !document.querySelector('#a').channel?.source")
        lab.pass_time(3, until=lambda: lab.events("error") or stub.open_streams)
        if lab.events("error"):
            break

    assert [event["detail"] for event in lab.events("error")] == [{"reason": "unknown"}]


def test_where_streams_do_not_work_records_are_polled_by_etag_and_streams_tried_now_and_then(
    lab: Lab, stub: Stub
) -> None:
    stub.streams = "broken"
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", clock=True)
    lab.pass_time(9, until=lambda: len(stub.polls) >= 2)
    expect(lab.part("percent")).to_have_text("1%")
    assert len(stub.stream_requests) == 1
    assert "if-none-match" not in stub.polls[0].headers
    assert stub.polls[1].headers["if-none-match"] == '"loyw3v28-1.1.1"'

    stub.put("a", record(2, current=2, **ROWS))
    lab.pass_time(2)
    expect(lab.part("percent")).to_have_text("2%")
    lab.pass_time(65)
    assert 2 <= len(stub.stream_requests) <= 3

    stub.streams = "open"
    lab.pass_time(35, until=lambda: stub.open_streams)
    stub.until(lambda: stub.open_streams == 1)
    polls = len(stub.polls)
    lab.pass_time(10)
    assert len(stub.polls) <= polls + 1


def test_polls_keep_the_pace_that_the_server_asks_for(lab: Lab, stub: Stub) -> None:
    stub.streams = "broken"
    stub.retry_after = "4"
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", clock=True)
    lab.pass_time(5, until=lambda: stub.polls)
    lab.pass_time(8)

    assert 2 <= len(stub.polls) <= 3


def test_a_stream_that_a_proxy_holds_back_is_noticed(lab: Lab, stub: Stub) -> None:
    stub.streams = "held"
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", clock=True)
    lab.pass_time(8, until=lambda: lab.job())

    expect(lab.part("percent")).to_have_text("1%")
    stub.put("a", record(2, current=2, **ROWS))
    lab.pass_time(3)
    expect(lab.part("percent")).to_have_text("2%")


def test_an_older_record_is_never_shown_and_a_flag_of_the_same_version_is(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(9, run=2, current=9, **ROWS))
    bar = lab.open("a")
    expect(lab.part("percent")).to_have_text("9%")

    def offer(offered: Record) -> bool:
        news: bool = bar.evaluate("(bar, record) => bar.receive(record)", offered)
        return news

    assert not offer(record(10, run=1, attempt=3, current=50, **ROWS))
    assert not offer(record(8, run=2, current=50, **ROWS))
    assert not offer(record(9, run=2, current=9, **ROWS))
    assert offer(record(9, run=2, current=9, **ROWS, stalled=True))
    assert offer(record(9, run=2, current=9, **ROWS))
    assert offer(record(10, run=2, current=10, **ROWS))
    assert offer(record(1, run=2, attempt=2, current=1, **ROWS))
    assert offer(record(1, run=10, current=0, **ROWS))
    assert not offer(record(1, run=9, current=50, **ROWS))
    another = record(1, current=3, **ROWS)
    assert offer({**another, "cursor": another["cursor"].replace("loyw3v28", "loyw3v29")}), "a life of its own"


def test_a_refused_key_ends_in_error_at_once_and_the_others_go_on(lab: Lab, stub: Stub) -> None:
    stub.refused.add("a")
    stub.put("b", record(1, current=1, **ROWS))
    lab.open("a", "b")

    expect(lab.bar("a")).to_have_attribute("data-state", "error")
    expect(lab.part("label")).to_have_text("Not available")
    assert [event["detail"] for event in lab.events("error")] == [{"reason": "refused"}]
    expect(lab.part("percent", "b")).to_have_text("1%")
    assert len(stub.log) == 1


@pytest.mark.parametrize("streams", ["open", "broken"])
def test_a_key_that_is_unknown_for_thirty_seconds_ends_in_error(lab: Lab, stub: Stub, streams: str) -> None:
    stub.streams = streams
    stub.put("b", record(1, current=1, **ROWS))
    lab.open("a", "b", clock=True)
    began = lab.page.evaluate("Date.now()")
    lab.pass_time(45, until=lambda: lab.events("error"))

    (event,) = lab.events("error")
    assert event["detail"] == {"reason": "unknown"}
    assert 30 <= (event["at"] - began) / 1_000 <= 37
    expect(lab.part("label")).to_have_text("Unknown job")
    expect(lab.bar("b")).to_have_attribute("data-state", "running")


def test_a_key_that_becomes_known_in_time_is_no_error(lab: Lab, stub: Stub) -> None:
    lab.open("a", clock=True)
    lab.pass_time(28)
    expect(lab.bar("a")).to_have_attribute("data-state", "connecting")
    stub.put("a", record(1, current=1, **ROWS))
    expect(lab.part("percent")).to_have_text("1%")
    lab.pass_time(10)

    assert lab.events("error") == []


@pytest.mark.parametrize("streams", ["open", "broken"])
def test_the_time_in_which_nobody_answers_makes_no_key_unknown(lab: Lab, stub: Stub, streams: str) -> None:
    stub.streams = streams
    lab.open("a", clock=True)
    lab.pass_time(20)
    polls = len(stub.polls)
    assert polls, "the answer was that there is none"
    stub.away = True
    lab.pass_time(60)
    assert len(stub.polls) > polls + 2
    stub.away = False
    lab.pass_time(20, until=lambda: lab.events("error"))
    assert lab.events("error") == []
    stub.put("a", record(1, current=1, **ROWS))
    lab.pass_time(3)
    expect(lab.part("percent")).to_have_text("1%")


def test_a_hidden_tab_holds_no_stream_and_polls_each_fifteen_seconds(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", clock=True)
    lab.page.clock.run_for(30)
    expect(lab.part("percent")).to_have_text("1%")
    lab.page.evaluate("lab.setHidden(true)")
    stub.until(lambda: stub.open_streams == 0)
    lab.pass_time(14)
    assert stub.polls == []  # a page that is left asks nothing more
    lab.pass_time(36)
    assert len(stub.polls) == 3
    assert len(stub.stream_requests) == 1

    stub.put("a", record(2, current=2, **ROWS))
    lab.page.evaluate("lab.setHidden(false)")
    expect(lab.part("percent")).to_have_text("2%")
    stub.until(lambda: stub.open_streams == 1)
    assert len(stub.polls) == 3


# ---- what the page is notified of


def test_each_newer_record_is_an_event_and_the_end_is_reported_once(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a")
    expect(lab.part("percent")).to_have_text("1%")
    last = record(2, current=2, **ROWS, state="failed", error={"type": "ValueError", "message": None})
    stub.put("a", last)
    expect(lab.bar("a")).to_have_attribute("data-state", "failed")

    assert [event["detail"]["version"] for event in lab.events("progress")] == ["1.1.1", "1.1.2"]
    assert [event["detail"] for event in lab.events("done")] == [last]
    assert lab.events("error") == []
    assert lab.job() == last


def test_an_ended_bar_starts_afresh_with_its_src_set_or_put_in_again(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS, state="succeeded"))
    bar = lab.open("a")
    expect(bar).to_have_attribute("data-state", "succeeded")
    stub.put("a", record(1, run=2, current=5, **ROWS))
    bar.evaluate("bar => bar.setAttribute('src', bar.getAttribute('src'))")
    expect(lab.part("percent")).to_have_text("5%")
    stub.put("a", record(2, run=2, current=5, **ROWS, state="cancelled"))
    expect(bar).to_have_attribute("data-state", "cancelled")
    stub.put("a", record(1, run=3, current=7, **ROWS))
    bar.evaluate("bar => document.body.append(bar)")

    expect(lab.part("percent")).to_have_text("7%")


# ---- cancelling


def test_the_cancel_button_asks_for_it_and_says_so(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", cancel="")
    button = lab.bar("a").get_by_role("button", name="Cancel")
    button.click()

    expect(lab.bar("a")).to_have_attribute("data-state", "cancelling")
    expect(button).to_have_text("Cancelling…")
    expect(button).to_be_disabled()
    stub.until(lambda: [request for request in stub.log if request.method == "POST"])
    (request,) = [request for request in stub.log if request.method == "POST"]
    assert request.path == "/progress/a/cancel/"
    assert request.headers["x-progresskit"] == "1"
    lab.page.wait_for_function("() => document.querySelector('#a').job?.cancel_requested")
    stub.put("a", record(2, current=1, **ROWS, state="cancelled"))
    expect(lab.part("cancel")).to_be_hidden()
    expect(lab.part("label")).to_have_text("Cancelled")


def test_a_cancel_that_fails_can_be_tried_again(lab: Lab, stub: Stub) -> None:
    stub.cancel_status = 500
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", cancel="")
    button = lab.bar("a").get_by_role("button")
    button.click()
    expect(lab.part("detail")).to_have_text("1 of 100 rows · Could not cancel")
    expect(button).to_be_enabled()
    stub.cancel_status = 202
    button.click()

    expect(button).to_have_text("Cancelling…")
    expect(lab.part("detail")).to_have_text("1 of 100 rows")


def test_there_is_no_cancel_button_without_the_attribute_or_after_the_end(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    stub.put("b", record(1, current=1, **ROWS, state="cancelled"))
    lab.open("a")
    lab.add("b", cancel="")
    expect(lab.part("percent", "b")).to_have_text("1%")

    expect(lab.part("cancel", "a")).to_be_hidden()
    expect(lab.part("cancel", "b")).to_be_hidden()
    lab.bar("a").evaluate("bar => bar.setAttribute('cancel', '')")
    expect(lab.part("cancel", "a")).to_be_visible()


def test_the_focus_stays_where_the_cancel_button_was_used(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", cancel="")
    button = lab.bar("a").get_by_role("button", name="Cancel")
    button.press("Enter")
    expect(button).to_have_text("Cancelling…")
    expect(button).to_be_focused()
    lab.page.wait_for_function("() => document.querySelector('#a').job?.cancel_requested")
    stub.put("a", record(2, current=1, **ROWS, state="cancelled", cancel_requested=True))

    expect(button).to_be_hidden()
    expect(lab.bar("a")).to_be_focused()


def test_an_end_takes_the_focus_from_nothing_else(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(1, current=1, **ROWS))
    lab.open("a", cancel="")
    lab.page.evaluate("document.body.append(document.createElement('input'))")
    lab.page.locator("input").focus()
    stub.put("a", record(2, current=1, **ROWS, state="succeeded"))

    expect(lab.part("cancel")).to_be_hidden()
    expect(lab.page.locator("input")).to_be_focused()


@pytest.mark.parametrize("size", [8, 16, 32])
def test_the_cancel_button_looks_like_one_and_is_large_enough(lab: Lab, stub: Stub, size: int) -> None:
    stub.put("a", record(current=1, **ROWS))
    lab.open("a", cancel="")
    lab.page.evaluate("size => { document.body.style.fontSize = `${size}px` }", size)
    expect(lab.part("cancel")).to_be_visible()
    box = lab.part("cancel").bounding_box()

    assert box is not None
    assert min(box["width"], box["height"]) >= 24
    assert lab.part("cancel").evaluate("button => getComputedStyle(button).borderStyle") == "solid"


# ---- what the page around it does


def test_a_page_that_centres_its_text_does_not_centre_that_of_a_bar(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, **ROWS))
    lab.open("a")
    expect(lab.part("percent")).to_have_text("29%")
    lab.page.evaluate("document.body.style.cssText = 'text-align: center; white-space: nowrap'")
    gaps = lab.bar("a").evaluate(
        """bar => ["label", "detail"].map(name => {
            const piece = bar.shadowRoot.querySelector(`[part=${name}]`);
            const range = document.createRange();
            range.selectNodeContents(piece);
            return range.getBoundingClientRect().left - piece.getBoundingClientRect().left;
        })"""
    )

    assert gaps == [pytest.approx(0, abs=0.5)] * 2


def test_the_icon_is_hidden_from_assistive_technology(lab: Lab, stub: Stub) -> None:
    stub.put("a", record(current=29, **ROWS))
    lab.open("a")

    expect(lab.part("icon")).to_have_attribute("aria-hidden", "true")


# ---- what the console says


def test_a_token_that_is_refused_is_reported(lab: Lab, stub: Stub) -> None:
    stub.refused.add("a")
    with lab.page.expect_console_message(lambda message: "token refused" in message.text) as reported:
        lab.open("a")

    assert reported.value.type == "warning"
    assert reported.value.args[1].evaluate("bar => bar.id") == "a"


def test_a_bar_without_an_address_is_reported_unless_it_gets_one(lab: Lab, stub: Stub) -> None:
    texts: list[str] = []
    lab.page.on("console", lambda message: texts.append(message.text))
    stub.put("a", record(current=29, **ROWS))
    lab.open(clock=True)
    lab.page.evaluate(
        """() => {
            const bars = [0, 1].map(() => document.createElement("progress-bar"));
            document.querySelector("main").append(...bars);
            bars[1].setAttribute("src", "/progress/a/");
        }"""
    )
    lab.pass_time(3)

    assert [text.partition(" JSHandle")[0] for text in texts] == ["progresskit: src is missing:"]


def test_another_origin_that_lets_nothing_through_is_reported(lab: Lab, stub: Stub) -> None:
    lab.open()
    lab.page.evaluate("document.querySelector('main').append(document.createElement('progress-bar'))")
    elsewhere = f"{stub.url.replace('127.0.0.1', 'localhost')}/progress/a/"
    with lab.page.expect_console_message(lambda message: "another origin" in message.text) as reported:
        lab.bar_without_id().evaluate("(bar, src) => bar.setAttribute('src', src)", elsewhere)

    assert reported.value.type == "warning"


# ---- what ships


def test_the_component_is_small() -> None:
    assert len(gzip.compress(COMPONENT.read_bytes(), mtime=0)) <= 9_000  # as it is served
