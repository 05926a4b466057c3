"""The processes of the contract: made by a fork server, each with a clock of its own, none left behind."""

from __future__ import annotations

import os
from pathlib import Path
from time import time

import pytest

from progresskit.testing.forkserver import ForkServer
from progresskit.testing.process import served

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/progress.db"


def test_each_process_has_the_clock_that_it_was_given_and_none_changes_another(url: str) -> None:
    with served(url, 300) as ahead, served(url, -300) as behind, served(url) as right:
        for process, skew in ((ahead, 300), (behind, -300), (right, 0)):
            assert abs(process.ask("time") - skew - time()) < 60
        assert len({ahead.pid, behind.pid, right.pid, os.getpid()}) == 4


def test_a_process_may_be_killed_more_than_once(url: str) -> None:
    with served(url) as process:
        process.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
        process.kill()


def test_no_process_outlives_its_server(url: str) -> None:
    server = ForkServer()
    (for_it, to_it), (from_it, its) = os.pipe(), os.pipe()
    pid = server.fork(url, 0.0, for_it, its)
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for file in (for_it, to_it, from_it, its):
        os.close(file)


def test_what_cannot_be_connected_to_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    server = ForkServer()
    with open(os.devnull) as nothing, pytest.raises(AssertionError, match="the fork server has died"):
        server.fork("carrier-pigeon://roof", 0.0, nothing.fileno(), nothing.fileno())
    server.close()
    assert "UnknownScheme" in capfd.readouterr().err
