from __future__ import annotations

import io
import logging
import re

from progresskit.parts import Tally
from progresskit.progress import Progress, State, Version
from progresskit.steps import Step
from progresskit.terminal.bars import LiveBars
from progresskit.terminal.console import Console
from progresskit.terminal.displays import Plain
from progresskit.terminal.records import Seen
from tests.terminal.emulator import Emulator


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def jobs(live: int, done: int) -> dict[str, Seen]:
    """Return so many jobs that run and that have succeeded, those that are done first."""
    version = Version(1, 1, 1)
    states = [State.SUCCEEDED] * done + [State.RUNNING] * live
    return {f"job-{n}": Seen(f"job-{n}", Progress(f"job-{n}", state, version)) for n, state in enumerate(states)}


def screen(stream: Tty) -> list[str]:
    terminal = Emulator()
    terminal.feed(stream.getvalue())
    return terminal.lines


def test_more_jobs_than_lines_leave_room_to_those_that_run() -> None:
    stream = Tty()
    with LiveBars(Console(stream, {})) as live:
        live.show(jobs(live=10, done=30), ())
    lines = screen(stream)
    assert len(lines) == 23  # of 24: the cursor has one
    assert lines[-1].strip() == "and 18 succeeded"
    assert [line.split()[1] for line in lines[-11:-1]] == [f"job-{n}" for n in range(30, 40)]


def test_in_the_end_all_jobs_are_shown() -> None:
    stream = Tty()
    with LiveBars(Console(stream, {})) as live:
        live.show(jobs(live=1, done=39), ())
        live.show(jobs(live=0, done=40), ())
    assert len(screen(stream)) == 40


def test_a_warning_stays_above_the_bars_and_does_not_tear_them() -> None:
    stream = Tty()
    logger = logging.getLogger("progresskit")
    with LiveBars(Console(stream, {})) as live:
        live.show(jobs(live=2, done=0), ())
        logger.warning("Progress cannot be read now; it is tried again: %s", "database is locked\x1b[2J")
        live.show(jobs(live=2, done=0), ())
        assert screen(stream)[0] == "Progress cannot be read now; it is tried again: database is locked[2J"
        live.show(jobs(live=2, done=0), ())
        assert len(screen(stream)) == 3
    assert not logger.handlers


def test_a_line_is_written_when_another_step_begins() -> None:
    stream = io.StringIO()
    plain = Plain(Console(stream, {}))
    steps = (Step("Download", 1), Step("Parse", 1))
    job = Progress("job", State.RUNNING, Version(1, 1, 1), steps=steps, step=1, given_percent=50)
    for progress in (job, job, job._replace(step=2), job._replace(step=2)):
        plain.show({"job": Seen("job", progress)}, ["job"])
    first, second = stream.getvalue().splitlines()
    assert "50%" in first
    assert "step 1 of 2: Download" in first
    assert "step 2 of 2: Parse" in second


def test_a_line_is_written_when_a_part_fails_and_as_the_number_of_those_doubles() -> None:
    stream = io.StringIO()
    plain = Plain(Console(stream, {}))
    job = Progress("job", State.RUNNING, Version(1, 1, 1), unit="pictures", total=100)
    for failed in (0, 1, 1, 2, 3, 3, 4):
        progress = job._replace(current=7, tally=Tally("run", size=100, sum=70_000, succeeded=7, failed=failed))
        plain.show({"job": Seen("job", progress)}, ["job"])
    lines = stream.getvalue().splitlines()
    assert [re.findall(r"\d+ failed", line) for line in lines] == [[], ["1 failed"], ["2 failed"], ["4 failed"]]
    assert "7% | 7/100 pictures | 1 failed" in lines[1]
