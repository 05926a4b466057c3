"""Ids that are used again while lines to the reference backend fail."""

from __future__ import annotations

import pytest

from progresskit.kit import Kit
from progresskit.memory import MemoryBackend
from progresskit.progress import State
from progresskit.testing import FakeClock
from progresskit.testing.reuse import Line, check


def test_whatever_fails_the_run_that_began_last_is_shown() -> None:
    def make() -> tuple[MemoryBackend, FakeClock]:
        clock = FakeClock()
        return MemoryBackend(clock=clock), clock

    check(make, 400)


def test_an_end_that_is_sent_again_over_the_next_run_changes_nothing_and_warns_of_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    line = Line(MemoryBackend(clock=clock))
    kit = Kit(backend=line, clock=clock, threaded=False)

    def rounds(count: int = 1) -> None:
        for _ in range(count):
            kit.publisher.step()
            clock.advance(0.2)

    kit.observe("nightly").fail("the old failure")
    rounds()
    job = kit.observe("nightly", total=5)
    rounds()
    job.set_progress(1)
    rounds()
    line.cut = True
    job.set_progress(2)
    rounds(3)
    line.cut = False
    rounds(40)
    shown = kit.get("nightly")
    assert shown is not None
    assert (shown.state, str(shown.version), shown.current) == (State.RUNNING, "2.1.3", 2)
    job.succeed()
    rounds()
    ended = kit.get("nightly")
    assert ended is not None
    assert (ended.state, ended.version.run) == (State.SUCCEEDED, 2)
    assert not [message for message in caplog.messages if "started again" in message]
