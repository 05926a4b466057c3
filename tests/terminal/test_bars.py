from __future__ import annotations

import io
import itertools
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from progresskit.observers import Terminal
from progresskit.parts import Tally
from progresskit.progress import Failure, Progress, State, Version
from progresskit.steps import Step, StepState
from progresskit.terminal import bars
from progresskit.terminal.console import Console
from progresskit.terminal.records import Seen, details, phase, width

BEGUN = datetime(2030, 1, 1, tzinfo=UTC)


class Tty(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def terminal(encoding: str = "utf-8", **environ: str) -> Console:
    return Console(Tty(io.BytesIO(), encoding=encoding), environ)


def draw(jobs: list[Seen], columns: int, now: float, console: Console) -> list[str]:
    return [console.rendered(line) for line in bars.draw(jobs, columns, now, console.glyphs)]


def job(state: State = State.RUNNING, **fields: Any) -> Progress:
    return Progress("job", state, Version(1, 1, 1))._replace(**fields)


ROWS: dict[str, Any] = {
    "current": 5208,
    "total": 12400,
    "unit": "rows",
    "description": "Importing",
    "rate": 412.0,
    "eta": 17.0,
}
EVERY_STATE = [
    Seen("never-heard-of"),
    Seen("a", job(State.PENDING)),
    Seen("b", job(**ROWS)),
    Seen("c", job(**ROWS, stalled=True)),
    Seen("d", job(**ROWS, cancel_requested=True)),
    Seen("e", job(current=3, unit="files", description="Ein sehr langer Name: 日本語のファイル, und noch mehr davon")),
    Seen("f", job(State.RETRYING, updated_at=BEGUN, next_retry_at=BEGUN + timedelta(seconds=42))),
    Seen("g", job(State.SUCCEEDED, **ROWS, started_at=BEGUN, finished_at=BEGUN + timedelta(seconds=61))),
    Seen("h", job(State.FAILED, **ROWS, error=Failure("ValueError", "row 7,303\nhas 11 columns"))),
    Seen("i", job(State.CANCELLED, **ROWS)),
    Seen("j", job(State.CANCELLED, **ROWS, cancel_requested=True)),
]  # fmt: skip


def test_a_job_that_ended_early_without_a_request_says_so_and_a_cancelled_one_was_asked() -> None:
    early, cancelled = job(State.CANCELLED, **ROWS), job(State.CANCELLED, **ROWS, cancel_requested=True)
    assert (phase(early), details(early, 0)[0]) == ("stopped early", "stopped early")
    assert (phase(cancelled), details(cancelled, 0)[0]) == ("cancelled", "cancelled")
    (line,) = draw([Seen("job", early)], 100, 0.0, terminal(NO_COLOR="1"))
    assert "stopped early" in line
    assert "ancelled" not in line


@pytest.mark.parametrize("columns", [10, 24, 39, 40, 60, 79, 120, 300])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_line_is_wider_than_the_terminal_in_any_state(columns: int, encoding: str) -> None:
    for now in (0.0, 3.3, 1000.0):
        lines = draw(EVERY_STATE, columns, now, terminal(encoding, NO_COLOR="1"))
        assert len(lines) == len(EVERY_STATE)
        assert max(map(width, lines)) <= columns


def test_bars_stand_below_each_other() -> None:
    lines = draw(EVERY_STATE, 100, 0, terminal(NO_COLOR="1"))
    starts = {width(line[: found.start()]) for line in lines if (found := re.search("[━─]", line))}
    assert len(starts) == 1


def test_a_bar_is_as_long_as_the_percent_say() -> None:
    halves = []
    for current in range(101):
        (line,) = draw([Seen("x", job(current=current, total=100))], 100, 0, terminal(NO_COLOR="1"))
        halves.append(2 * line.count("━") + line.count("╸"))
    assert halves == sorted(halves)
    assert halves[0] == 0
    assert halves[50] == 24
    assert halves[100] == 47  # full is only what has succeeded
    (line,) = draw([Seen("x", job(State.SUCCEEDED))], 100, 0, terminal(NO_COLOR="1"))
    assert line.count("━") == 24


def test_a_job_without_a_total_moves_there_and_back() -> None:
    lines = [draw([Seen("x", job())], 100, frame / 10, terminal(NO_COLOR="1"))[0] for frame in range(40)]
    starts = [line.index("━") for line in lines]
    assert {abs(a - b) for a, b in itertools.pairwise(starts)} == {1}


def test_the_time_left_is_counted_down_while_nothing_comes() -> None:
    running = job(**ROWS)
    assert details(running, 0) == ["about 15 seconds left", "5,208/12,400 rows", "412 rows/s"]
    assert details(running, 10) == ["a few seconds left", "5,208/12,400 rows", "412 rows/s"]
    assert details(running, 1000) == ["5,208/12,400 rows", "412 rows/s"]


def test_a_failure_says_why_before_all_else() -> None:
    (line,) = draw([EVERY_STATE[8]], 80, 0, terminal(NO_COLOR="1"))
    assert "✘" in line
    assert "failed: ValueError: row 7,303 has" in line


@pytest.mark.parametrize(
    ("fields", "seen"),
    [({}, "running"), ({"stalled": True}, "stalled"), ({"cancel_requested": True}, "cancelling"),
     ({"state": State.FAILED, "cancel_requested": True, "stalled": True}, "failed")],
)  # fmt: skip
def test_stalled_and_cancelling_are_states_to_a_viewer(fields: dict[str, Any], seen: str) -> None:
    assert phase(job()._replace(**fields)) == seen


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], coloured: bool) -> None:
    (line,) = draw([EVERY_STATE[2]], 80, 0, terminal(**environ))
    assert ("\x1b[" in line) is coloured


@pytest.mark.parametrize(("stream", "environ"), [(Tty, {"TERM": "dumb"}), (io.TextIOWrapper, {})])
def test_only_text_is_written_where_there_is_no_terminal_that_can_draw(
    stream: type[io.TextIOWrapper], environ: dict[str, str]
) -> None:
    buffer = io.BytesIO()
    console = Console(stream(buffer, encoding="ascii"), environ)
    assert console.rich is None
    assert console.hint is None
    console.line(("text", "red"), " \u00e9")
    assert buffer.getvalue() == b"text ?\n"


def test_a_terminal_without_rich_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    console = terminal()
    assert console.rich is None
    assert console.hint == 'for bars in the terminal: pip install "progresskit[cli]"'
    buffer = io.BytesIO()
    stream = Tty(buffer, encoding="utf-8")  # closes the buffer when it is gone
    Terminal(stream).notify(job(**ROWS))
    hint, line = buffer.getvalue().decode().splitlines()
    assert hint.endswith(console.hint)
    assert "job running   42%" in line


STEPS = (
    Step("Download", 1, StepState.SUCCEEDED, 100),
    Step("Parse\x1b[31m", 3, StepState.RUNNING, 50),
    Step("Store", 1),
)


def test_a_job_with_steps_shows_the_name_and_number_of_the_current_one() -> None:
    running = job(current=5, total=10, steps=STEPS, step=2, given_percent=30)
    assert details(running, 0) == ["step 2 of 3: Parse[31m", "5/10"]
    (line,) = draw([Seen("job", running)], 100, 0, terminal(NO_COLOR="1"))
    assert "30%" in line
    failed = running._replace(state=State.FAILED, error=Failure("ValueError", "no"))
    assert details(failed, 0)[:2] == ["failed: ValueError: no", "step 2 of 3: Parse[31m"]
    assert details(running._replace(state=State.SUCCEEDED), 0) == ["done", "5/10"]


def test_a_job_made_of_parts_shows_how_many_succeeded_and_failed() -> None:
    tally = Tally("run", size=1_100, sum=37 * 10_000, succeeded=37, failed=2, running=4)
    group = job(current=37, total=1_100, unit="pictures", tally=tally)
    assert details(group, 0) == ["37/1,100 pictures", "2 failed"]
    assert details(group._replace(tally=tally._replace(failed=0)), 0) == ["37/1,100 pictures"]
    (line,) = draw([Seen("job", group)], 100, 0, terminal(NO_COLOR="1"))
    assert "3%" in line


@pytest.mark.parametrize(
    ("columns", "weights", "cuts"),
    [
        (164, (1, 3, 1), [8, 32]),
        (164, (1, 1, 1, 37), [1, 3, 5]),
        (164, (38, 1, 1), []),
        (44, (1,) * 9, []),
        (164, (None, None), []),
        (164, (1,), []),
    ],
)
def test_the_bar_has_a_segment_for_each_declared_step_where_there_is_room(
    columns: int, weights: tuple[int | None, ...], cuts: list[int]
) -> None:
    for percent in (0, 20, 55.5, 99.99):
        steps = tuple(Step(f"step {number}", weight) for number, weight in enumerate(weights))
        running = job(steps=steps, step=1, given_percent=percent)
        (line,) = draw([Seen("job", running)], columns, 0, terminal(NO_COLOR="1"))
        bar = re.findall("  ([━╸─][━╸─ ]*[━╸─])  ", line)[0]
        assert [column for column, glyph in enumerate(bar) if glyph == " "] == cuts
        (plain,) = draw([Seen("job", running._replace(steps=None))], columns, 0, terminal(NO_COLOR="1"))
        assert len(bar) == len(re.findall("[━╸─]+", plain)[0])


@pytest.mark.parametrize(("step", "shown"), [(1, []), (2, ["step 2"]), (1_500, ["step 1,500"])])
def test_loops_one_after_the_other_are_numbered_from_the_second_on(step: int, shown: list[str]) -> None:
    assert details(job(step=step), 0) == shown


def test_of_steps_that_are_not_declared_the_number_of_all_is_not_shown() -> None:
    assert details(job(steps=(Step("Read"), Step("Store")), step=2), 0) == ["step 2: Store"]
