"""
A worker process, `python -m tests.faults.worker`: works on jobs, and tells at its end what came of them.

Its standard input has first one line of JSON, then the ids of jobs to end, a line each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from progresskit import State

from .jobs import Ending, Jobs, kit_on

PATIENCE = 300.0
"""Seconds in which a worker ends: it may wait until all is stored."""


class Worker:
    """A worker process as the test sees it; the counterpart of `Jobs`."""

    def __init__(self, url: str, plans: Sequence[Sequence[str]]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.pid = self._process.pid
        self.endings: dict[str, Ending] = {}
        self.problems: list[str] = []
        self._say(json.dumps({"url": url, "plans": plans}))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self, id: str) -> None:
        """Have a job end."""
        self._say(id)

    def join(self) -> None:
        """Wait until all of them have ended, and take over what the process has to say."""
        answer, _ = self._process.communicate(timeout=PATIENCE)
        if self._process.returncode or not answer:
            self.problems.append(f"worker {self.pid} died: {self._process.returncode}")
            return
        said: dict[str, Any] = json.loads(answer)
        self.endings = {id: Ending(State(state), current) for id, (state, current) in said["endings"].items()}
        self.problems += said["problems"]

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def main() -> None:
    """Work as standard input says."""
    asked = json.loads(sys.stdin.readline())
    died: list[str] = []
    threading.excepthook = lambda args: died.append(f"{args.thread} died of {args.exc_value!r}")
    kit = kit_on(asked["url"])
    jobs = Jobs(kit, asked["plans"])
    for line in sys.stdin:
        jobs.end(line.strip())
    jobs.join()
    jobs.close()
    kit.close()
    print(json.dumps({"endings": jobs.endings, "problems": jobs.problems + died}))


if __name__ == "__main__":
    main()
