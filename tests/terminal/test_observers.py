from __future__ import annotations

import io
import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from progresskit import ConfigurationError, Kit, Progress, PublicError, State, Version
from progresskit.config import resolve
from progresskit.integrations import Integration
from progresskit.observers import Logging, Milestones, Terminal, sentence
from progresskit.progress import Failure
from progresskit.testing import FakeClock, RecordingObserver

BEGUN = datetime(2030, 1, 1, tzinfo=UTC)
TIMES: dict[str, Any] = {"started_at": BEGUN, "finished_at": BEGUN + timedelta(seconds=12)}


def job(state: State = State.RUNNING, **fields: Any) -> Progress:
    return Progress("import-42", state, Version(1, 1, 1))._replace(**fields)


def logged(*reports: tuple[float, Progress]) -> list[float]:
    """Return the times of the reports that are logged."""
    milestones = Milestones()
    return [now for now, progress in reports if milestones.is_due(progress, now)]


def test_a_line_is_due_at_each_tenth_of_the_total_and_at_the_end() -> None:
    reports = [(percent / 10, job(current=percent, total=100)) for percent in range(100)]
    assert logged(*reports, (10, job(State.SUCCEEDED, current=100, total=100))) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_line_is_due_when_there_was_none_for_30_seconds() -> None:
    assert logged(*((now, job(current=now)) for now in range(100))) == [30, 60, 90]
    reports = [(0, 0), (10, 11), (39, 12), (40, 13), (69, 19), (70, 20), (71, 20)]
    assert logged(*((now, job(current=percent, total=100)) for now, percent in reports)) == [10, 40, 70]


def test_a_percent_that_goes_up_and_down_by_a_little_is_no_milestone_and_another_step_is_one() -> None:
    percents = [9, 10, 9, 10, 9, 10, 55, 99, 0, 10, 20]
    assert logged(*((now, job(given_percent=percent)) for now, percent in enumerate(percents))) == [1, 6, 7, 9, 10]


def test_another_run_of_an_id_begins_again() -> None:
    milestones = Milestones()
    for _ in range(2):
        assert [milestones.is_due(job(current=n, total=10), 0) for n in (0, 1, 2)] == [False, True, True]
        assert milestones.is_due(job(State.FAILED), 0)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (job(current=3), "running: 3"),
        (
            job(current=5208, total=12400, unit="rows", rate=412.0, eta=17.0, description="Importing\x1b[2J"),
            "running: 42%, about 15 seconds left, 5,208/12,400 rows, 412 rows/s, Importing[2J",
        ),
        (job(State.SUCCEEDED, current=40, total=40, **TIMES), "succeeded in 12s: 100%, 40"),
        (job(State.FAILED, error=Failure("ValueError", "secret"), **TIMES), "failed after 12s: ValueError"),
        (
            job(State.FAILED, current=4, total=10, error=Failure("PublicError", "row 41", public=True), **TIMES),
            "failed after 12s: PublicError: row 41, 40%, 4/10",
        ),
        (job(State.CANCELLED, cancel_requested=True, **TIMES), "cancelled after 12s"),
        (job(State.RETRYING, started_at=BEGUN, updated_at=BEGUN + timedelta(minutes=2)), "retrying after 2m"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_line_says_how_the_job_stands_and_nothing_private(progress: Progress, text: str) -> None:
    assert sentence(progress) == text


def test_all_jobs_of_a_kit_are_logged_with_the_name_and_level_of_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = FakeClock()
    kit = Kit("memory://", observers=[Logging("shop.jobs", logging.DEBUG, clock=clock)], clock=clock, threaded=False)
    with kit.observe("import-42", total=100, kind="shop.import") as opened:
        for _ in range(40):
            opened.advance()
            kit.publisher.step()
            clock.advance(2)
    with pytest.raises(PublicError), kit.observe("import-43"):
        raise PublicError("The disk is full")
    records = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert {record[:2] for record in records} == {("shop.jobs", logging.DEBUG)}
    *running, last, failed = [message for _, _, message in records]
    assert [re.findall(r"import-42 running: \d+%", message) for message in running] == [
        [f"import-42 running: {percent}%"] for percent in (10, 20, 30, 40)
    ]
    assert last == "Job shop.import import-42 succeeded in 1m 20s: 100%, 40/100"
    assert failed == "Job import-43 failed after 0s: PublicError: The disk is full"


def test_without_a_terminal_lines_are_written_as_by_watch() -> None:
    stream = io.StringIO()
    clock = FakeClock()
    kit = Kit("memory://", clock=clock, threaded=False)
    with kit.observe("import-42", total=10, description="Importing") as opened:
        opened.attach(Terminal(stream))
        for _ in range(10):
            kit.publisher.step()
            opened.advance(0.5)
            clock.advance(1)
    lines = [line[9:] for line in stream.getvalue().splitlines()]
    assert lines[0] == "import-42 running   0% | 0/10 | Importing"
    assert lines[-1] == "import-42 succeeded 100% | done in 10s | 5/10 | Importing"
    assert [line.split()[2] for line in lines] == ["0%", "10%", "20%", "30%", "40%", "100%"]


class Mine(RecordingObserver):
    made: ClassVar[list[Mine]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)


def test_an_observer_of_the_site_is_named_by_its_module_and_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shop_observers", sys.modules[__name__])
    monkeypatch.setenv("PROGRESSKIT_OBSERVERS", " logging, shop_observers:Mine,")
    kit = Kit("memory://", threaded=False)
    before = len(Mine.made)
    with kit.observe("one"):
        pass
    with kit.part("album", "chunk-7"):
        pass
    (mine,) = Mine.made[before:]
    assert [(record.id, record.state) for record in mine.records] == [
        ("one", State.SUCCEEDED),
        ("album/chunk-7", State.SUCCEEDED),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("terminl", "no observer is called 'terminl' (did you mean 'terminal'?)"),
        (["logging", "shop"], "no observer is called 'shop'; there are logging, terminal, and your own"),
        (":Mine", "no observer is called ':Mine'"),
        ([Terminal], "observers must be names, Observers or functions of a Progress, not <class"),
        ([3], "not 3"),
    ],
)
def test_a_wrong_name_is_refused_at_once(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Kit("memory://", observers=given)
    assert message in str(refused.value)


@pytest.mark.parametrize("given", ["no.such.module:Class", "progresskit.observers:Nothing", "io:TextIOWrapper"])
def test_an_observer_that_cannot_be_made_is_refused_before_a_worker_starts(given: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the observer '{given}' cannot be made"):
        Integration(Kit("memory://", observers=given)).check("a worker")


def test_names_and_observers_may_be_mixed() -> None:
    observer = RecordingObserver()
    assert resolve({"observers": [observer, " logging ", print]}, {}, {}).observers == (observer, "logging", print)
    assert resolve({}, {"OBSERVERS": "terminal"}, {}).observers == ("terminal",)
    assert resolve({}, {}, {"PROGRESSKIT_OBSERVERS": ""}).observers == ()


def broken(progress: Progress) -> None:
    raise RuntimeError("broken observer")


def test_an_observer_that_raises_is_logged_once_and_harms_no_job(caplog: pytest.LogCaptureFixture) -> None:
    observer = RecordingObserver()
    kit = Kit("memory://", observers=[broken, observer], threaded=False)
    for id in ("one", "two"):
        with kit.observe(id, total=2) as opened:
            kit.publisher.step()
            opened.advance()
    assert caplog.text.count("Traceback") == 1
    assert [record.state for record in observer.records] == [State.RUNNING, State.SUCCEEDED] * 2
