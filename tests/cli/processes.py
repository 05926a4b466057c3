"""The command line in processes of its own."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from progresskit.kit import Kit
from tests.services.waiting import PATIENCE, wait_until

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes are left")

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "progresskit")
RUN_SECONDS = 300
JOB_SECONDS = 120
LONG_CSV = b"a,b\n" + b"1,2\n" * 3_000_000
"""A file whose import lasts about a minute, far longer than any test looks on: until it is cancelled, it runs."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a user who has configured nothing, and has installed this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROGRESSKIT_")}
    return kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'adapters'}", "PYTHONUNBUFFERED": "1"} | dict(more or {})


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `more` are variables of its environment."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(more), capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )


@contextmanager
def start(*arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command, in a process group of its own; what is left of it afterwards is killed."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def in_a_terminal(
    command: Sequence[str], act: Callable[[subprocess.Popen[bytes], str], object], **more: str
) -> tuple[str, int]:
    """
    Run a command in a pseudo-terminal of 80 columns; return what it wrote, and its exit code.

    `act` is called with the process and what it has written so far, each time that it has written something; `more` are
    variables of its environment.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        command, env=environment({"TERM": "xterm", **more}), stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed: so ends a terminal on Linux
            break
        if not chunk:
            break
        written += chunk
        act(process, written.decode(errors="ignore"))
    os.close(ours)
    return written.decode(), process.wait(PATIENCE)


class Demo:
    """A demo that runs, with its temporary folder in `folder`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder
        self.url = self._address()
        self.http = httpx.Client(
            base_url=self.url,
            headers={"X-Progresskit": "1"},
            trust_env=False,
            timeout=PATIENCE,
            follow_redirects=True,
        )

    def _address(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://\S+", line):
                return found[0]
        assert self.process.stderr is not None
        raise AssertionError(f"the demo did not start: {self.process.stderr.read()}")

    @property
    def kit(self) -> Kit:
        """Make a kit that sees the demo's jobs."""
        (path,) = self.folder.glob("progresskit-demo-*/progress.db")
        return Kit(f"sqlite:///{path}")

    def post(self, path: str, **files: tuple[str, bytes]) -> str:
        """Start a job; return where its progress is."""
        answer = self.http.post(path, files=files or None)
        assert answer.status_code == 200, answer.text
        return progress_of(answer.text)

    def processes(self) -> set[int]:
        """Return the ids of the demo and all that descends from it."""
        return descendants(self.process.pid)


@contextmanager
def demo(folder: Path, *arguments: str, **more: str) -> Iterator[Demo]:
    """Start a demo on a free port, and use it once it says where it is."""
    with start("demo", "--port", "0", *arguments, TMPDIR=str(folder), **more) as process:
        running = Demo(process, folder)
        started = running.processes()
        try:
            with running.http:
                yield running
        finally:
            for pid in started - {process.pid}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def records(running: Demo, path: str) -> Iterator[dict[str, Any]]:
    """Follow a job over HTTP as a long poll does, to its end."""
    etag, deadline = "", time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        answer = running.http.get(path, headers={"If-None-Match": etag, "Prefer": "wait=5"}, timeout=30)
        if answer.status_code == 304 or answer.status_code == 404:
            continue
        assert answer.status_code == 200, answer.text
        yield answer.json()
        if answer.json()["done"]:
            return
        etag = answer.headers["ETag"]
    raise AssertionError(f"not done within {JOB_SECONDS} s")


def follow(running: Demo, path: str) -> list[dict[str, Any]]:
    seen = list(records(running, path))
    counts = [(record["percent"] or 0, record["step"] or 0, record["current"]) for record in seen]
    assert counts == sorted(counts)
    return seen


def until_running(running: Demo, path: str) -> None:
    assert any(record["state"] == "running" for record in records(running, path)), "it has never run"


def cancel(running: Demo, path: str) -> None:
    assert running.http.post(f"{path}cancel/").status_code == 202
    assert follow(running, path)[-1]["state"] == "cancelled"


def card_of(running: Demo, id: str) -> str:
    """Return the HTML of a job, which shows what came of it; empty for one that is not in the list."""
    return running.http.get("/").text.partition(f'id="job-{id}"')[2].partition("</article>")[0]


def progress_of(html: str) -> str:
    """Return the address of the first bar in the HTML."""
    found = re.search(r'<progress-bar src="([^"]+)"', html)
    assert found is not None, html
    return found[1]


def descendants(pid: int) -> set[int]:
    """Return a process and its children and theirs, those of them that are not dead."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
    found = {pid} & parents.keys()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def until_gone(pids: set[int]) -> None:
    """Wait until none of the processes is there."""

    def gone() -> bool:
        return not any(pid in descendants(pid) for pid in pids)

    wait_until(gone, "all processes are gone")
