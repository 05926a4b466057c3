"""Records as HTML."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit import Failure, Progress, State, Step, StepState, Version
from progresskit.parts import Tally
from progresskit.web.fragments import count, fragment, still

ALLOWED = {"div", "span", "progress"}


class Parsed(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attributes}

    def handle_data(self, data: str) -> None:
        self.text += data


def job(**fields: Any) -> Progress:
    given: dict[str, Any] = {"id": "a", "state": State.RUNNING, "version": Version(1, 1, 1)} | fields
    return Progress(**given)


def test_declared_steps_are_segments_as_wide_as_their_weights_and_others_are_one_bar() -> None:
    steps = (Step("Read", 1, StepState.SUCCEEDED, 100), Step("Parse", 2, StepState.RUNNING, 50), Step("Store", 1))
    html = fragment(job(steps=steps, step=2, given_percent=50, description="A & B"))
    assert 'role="progressbar" aria-label="A &amp; B" aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"' in html
    assert re.findall(r'<rect data-state="(\w+)" x="([\d.]+)" width="([\d.]+)"', html) == [
        ("succeeded", "0.00", "24.50"),
        ("succeeded", "0.00", "24.50"),
        ("running", "25.50", "49.00"),
        ("running", "25.50", "24.50"),
        ("pending", "75.50", "24.50"),
    ]
    assert "<progress" not in html
    assert "style" not in html
    assert "valuenow" not in fragment(job(steps=steps, step=2))
    assert "<progress" in fragment(job(steps=(Step("Read"), Step("Parse")), step=2))


@given(description=st.text(), unit=st.text(), kind=st.text(), message=st.text(), name=st.text())
def test_no_text_becomes_markup_or_a_second_line(
    description: str, unit: str, kind: str, message: str, name: str
) -> None:
    about: dict[str, Any] = {"description": description, "unit": unit, "error": Failure(kind, message)}
    html = fragment(job(**about, total=3, rate=2, eta=60, steps=(Step(name),), step=1))
    parsed = Parsed(html)
    assert parsed.tags == ALLOWED
    assert parsed.names == {"class", "data-job", "data-state", "max", "value", "aria-label"}
    assert len(html.splitlines()) == 1


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"current": 3, "total": 10, "unit": "rows"}, "3 of 10 rows"),
        ({"current": 12345, "unit": "rows"}, "12,345 rows"),
        ({"current": 1.25, "total": 2.5}, "1.2 of 2.5"),
        ({"current": 1536, "total": 4 * 2**20, "unit": "B"}, "1.5 KiB of 4.0 MiB"),
        ({"current": 0, "unit": "B"}, "0 B"),
        ({"current": 2**53, "unit": "B"}, "8.0 PiB"),
    ],
)
def test_the_count_is_said_as_people_do(fields: dict[str, Any], shown: str) -> None:
    assert count(job(**fields)) == shown


def test_an_unknown_total_makes_an_indeterminate_bar() -> None:
    assert '<progress max="100" aria-label="running"></progress>' in fragment(job())
    assert '<progress max="100" value="25" aria-label="x"></progress>' in fragment(
        job(current=1, total=4, description="x")
    )


NOW = datetime(2026, 11, 28, 20, 41, 23, tzinfo=UTC)


def test_a_stalled_job_says_so_and_since_when() -> None:
    assert 'data-state="stalled"' in fragment(job(stalled=True))
    assert Parsed(fragment(job(stalled=True))).text.strip().startswith("stalled")
    html = fragment(job(stalled=True, updated_at=NOW))
    assert "stalled, last report 2026-11-28 20:41:23 UTC" in Parsed(html).text
    assert '<time datetime="2026-11-28T20:41:23.000Z">' in html


def test_the_rate_and_the_time_left_are_shown_while_the_job_runs() -> None:
    known: dict[str, Any] = {"current": 5, "total": 10, "unit": "rows", "rate": 412.0, "eta": 130.0}
    running = fragment(job(**known))
    assert '<span class="progresskit-rate">412 rows/s</span>' in running
    assert '<span class="progresskit-left">about 2 minutes left</span>' in running
    for other in (
        job(current=5, total=10),
        job(**known, stalled=True),
        job(**known | {"state": State.SUCCEEDED}),
    ):
        assert "progresskit-rate" not in fragment(other)
        assert "progresskit-left" not in fragment(other)


def test_a_job_that_ended_early_without_a_request_says_so() -> None:
    early = fragment(job(state=State.CANCELLED))
    assert '<span class="progresskit-state">stopped early</span>' in early
    assert 'data-state="cancelled"' in early
    assert ">cancelled<" not in early
    asked = fragment(job(state=State.CANCELLED, cancel_requested=True))
    assert '<span class="progresskit-state">cancelled</span>' in asked


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": State.SUCCEEDED}, "succeeded Importing "),
        ({"state": State.CANCELLED}, "stopped early Importing "),
        ({"state": State.CANCELLED, "cancel_requested": True}, "cancelled Importing "),
        ({"state": State.FAILED, "error": Failure("OSError", None)}, "failed Importing  0 OSError"),
        ({"state": State.FAILED, "error": Failure("Error", "The disk is full", True)}, "failed Importing  0 The disk"),
        ({}, "Importing  running"),
    ],
)
def test_a_job_that_has_ended_says_how_first(fields: dict[str, Any], text: str) -> None:
    assert Parsed(fragment(job(description="Importing", **fields))).text.startswith(text)


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ({"updated_at": NOW - timedelta(seconds=0.4)}, "Last report a moment before this page was loaded."),
        ({"updated_at": NOW - timedelta(seconds=1.4)}, "Last report 1 second before this page was loaded."),
        ({"updated_at": NOW - timedelta(minutes=5, seconds=9)}, "Last report 5 minutes before this page was loaded."),
        ({"updated_at": NOW + timedelta(minutes=5)}, "Last report a moment before this page was loaded."),
        (
            {"state": State.FAILED, "finished_at": NOW - timedelta(hours=50), "updated_at": NOW},
            "Ended 2 days before this page was loaded.",
        ),
        ({}, "Reload the page for a newer state."),
    ],
)
def test_a_page_that_cannot_change_says_how_old_it_is(fields: dict[str, Any], age: str) -> None:
    html = still("a", job(**fields), NOW)
    assert age in Parsed(html).text
    assert not Parsed(html).tags & {"div", "p"}  # it may stand in a paragraph


def test_the_time_left_on_a_page_that_cannot_change_is_counted_down_to_its_making() -> None:
    html = still("a", job(eta=130.0, updated_at=NOW - timedelta(seconds=100)), NOW)
    assert '<span class="progresskit-left">about 30 seconds left</span>' in html
    assert "progresskit-left" not in still("a", job(eta=90.0, updated_at=NOW - timedelta(seconds=100)), NOW)


def test_a_page_of_a_job_without_a_report_says_so() -> None:
    html = still("a", None, NOW)
    assert 'data-state="pending"' in html
    assert "No report when this page was loaded." in Parsed(html).text


def test_a_job_made_of_parts_shows_how_many_succeeded_and_failed() -> None:
    tally = Tally("run", size=100, sum=37 * 10_000, succeeded=37, failed=2, running=4)
    html = fragment(job(current=37, total=100, unit="pictures", tally=tally))
    assert (
        '<span class="progresskit-count">37 of 100 pictures</span> <span class="progresskit-failed">2 failed</span>'
        in html
    )
    assert 'value="37"' in html
    assert "progresskit-failed" not in fragment(job(tally=tally._replace(failed=0)))


def test_a_job_with_steps_shows_the_name_and_number_of_the_current_one_until_it_has_succeeded() -> None:
    about: dict[str, Any] = {"steps": (Step("Read", 1), Step("Parse & store", 3)), "step": 2, "given_percent": 12.5}
    html = fragment(job(**about))
    assert '<span class="progresskit-step">step 2 of 2: Parse &amp; store</span>' in html
    assert "progresskit-step" not in fragment(job(**about, state=State.SUCCEEDED))
    assert "progresskit-step" not in fragment(job(step=1))
    assert "step 3<" in fragment(job(step=3))
