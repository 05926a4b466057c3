"""The processes of the contract: made by a fork server, each with a clock of its own, none left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from progresskit.testing.forkserver import ForkServer
from progresskit.testing.helpers import until
from progresskit.testing.process import served
from tests.services.forking import needs_fork

pytestmark = needs_fork


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


def test_what_cannot_be_connected_to_is_reported_and_keeps_nobody_else_from_it(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server = ForkServer()
    with open(os.devnull, "r+") as nothing:
        for _ in range(2):
            with pytest.raises(AssertionError, match="the fork server cannot make it"):
                server.fork("carrier-pigeon://roof", 0.0, nothing.fileno(), nothing.fileno())
        assert server.fork(url, 0.0, nothing.fileno(), nothing.fileno()) > 0
    server.close()
    assert "UnknownScheme" in capfd.readouterr().err


ASKER = """
import os, sys
from progresskit.testing.forkserver import ForkServer
(for_it, _), (_, its) = os.pipe(), os.pipe()
server = ForkServer()
print(server.fork(sys.argv[1], 0.0, for_it, its), flush=True)
sys.stdin.read()
"""


def test_no_process_outlives_the_one_that_asked_for_it_however_that_ends(url: str) -> None:
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        assert is_there(pid)
        asker.kill()
    until(lambda: not is_there(pid))


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_variable_that_is_gone_here_is_gone_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("PROGRESSKIT_GONE", "1")
        with served(url) as process:
            assert process.ask("environment", name="PROGRESSKIT_GONE") == "1"
    with served(url) as process:
        assert process.ask("environment", name="PROGRESSKIT_GONE") is None
