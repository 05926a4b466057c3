"""
Other processes for `SharedContract`: their actions, and the handle by which a test controls them.

A process reads its task from standard input (a URL may hold a password, which must not appear among arguments), prints
`ready` once its backend has joined, waits for `go`, and answers with one line of JSON; a serving process answers each
request. A call that is refused for a moment is repeated, as a publisher does.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import closing
from enum import StrEnum
from queue import Empty, Queue
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from progresskit.progress import State

from .forkserver import fork_server
from .helpers import connect, insist, take_part
from .serving import Servant
from .writes import start, update

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from progresskit.abc import Backend

PATIENCE = 90.0


def served(url: str, skew: float = 0.0) -> Process:
    """Start a process that serves requests, one after the other."""
    process = Process(Act.SERVE, url, ids=[], skew=skew)
    process.go()
    return process


class Act(StrEnum):
    """The actions of a process."""

    WRITE = "write"
    SUBSCRIBE_CANCELS = "subscribe_cancels"
    FORK = "fork"
    SERVE = "serve"


class Process:
    """
    A process that acts on the store of a URL, on a host with a clock that is wrong by `skew` seconds.

    A `late` one does not connect before it acts.
    """

    def __init__(
        self, act: Act, url: str, *, ids: list[str], count: int = 0, skew: float = 0.0, late: bool = False
    ) -> None:
        theirs, to_it = os.pipe()
        from_it, theirs_too = os.pipe()
        self._stdin, self._stdout = os.fdopen(to_it, "w"), os.fdopen(from_it)
        try:
            self.pid = fork_server().fork(url, skew, theirs, theirs_too)
        finally:
            for file in (theirs, theirs_too):
                os.close(file)
        self._lines: Queue[str] = Queue()
        self._answer: str | None = None
        self._reader = Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._send(json.dumps({"act": act, "url": url, "ids": ids, "count": count, "late": late}))
        assert self._line() == "ready"

    def _listen(self) -> None:
        for line in self._stdout:
            self._lines.put(line.strip())
        self._lines.put("")

    def _send(self, line: str) -> None:
        self._stdin.write(f"{line}\n")
        self._stdin.flush()

    def _line(self, timeout: float = PATIENCE) -> str:
        return self._lines.get(timeout=timeout)

    def go(self) -> None:
        """Let it begin."""
        self._send("go")

    @property
    def has_answered(self) -> bool:
        """True once it has done its work, or died of it."""
        if self._answer is None:
            try:
                self._answer = self._line(timeout=0.001)
            except Empty:
                return False
        return True

    def answer(self) -> Any:
        """Wait for its answer."""
        if self._answer is None:
            self._answer = self._line()
        assert self._answer, f"process {self.pid} died without an answer"
        return json.loads(self._answer)

    def begin(self, what: str, **arguments: Any) -> None:
        """Ask for something of a process that serves: a method of `Servant`."""
        self._answer = None
        self._send(json.dumps({"do": what, "arguments": arguments}))

    def ask(self, what: str, **arguments: Any) -> Any:
        """Ask for something, and wait for the answer."""
        self.begin(what, **arguments)
        return self.answer()

    def kill(self) -> None:
        """End it as SIGKILL does."""
        fork_server().kill(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._reader.join(PATIENCE)
        self._stdin.close()
        self._stdout.close()


def _write(backend: Backend, ids: list[str], count: int) -> dict[str, Any]:
    token = str(os.getpid())
    begun = [start(id, token=token, current=1, description=token) for id in ids]
    runs = dict(insist(lambda: backend.write(begun)))
    for seq in range(2, count + 1):
        batch = [update(id, seq, token=token, run=runs[id], current=seq, description=token) for id in ids]
        insist(lambda batch=batch: backend.write(batch))  # type: ignore[misc]
    return {"runs": runs}


def _subscribe_cancels(backend: Backend, ids: list[str], count: int) -> dict[str, Any]:
    insist(lambda: backend.write([start(id) for id in ids]))
    deadline = monotonic() + PATIENCE
    while not (asked := insist(lambda: backend.cancel_requested(ids))) and monotonic() < deadline:
        sleep(0.01)
    insist(lambda: backend.write([update(id, 2, state=State.CANCELLED) for id in sorted(asked)]))
    return {"asked": sorted(asked)}


def _fork(backend: Backend, ids: list[str], count: int) -> dict[str, Any]:
    parents, childs = ids
    insist(lambda: backend.write([start(parents)]))
    child = os.fork()
    if not child:
        try:
            backend.after_fork_in_child()
            _write(backend, [childs], count)
            backend.close()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    for seq in range(2, count + 1):
        insist(lambda seq=seq: backend.write([update(parents, seq, current=seq)]))  # type: ignore[misc]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    insist(lambda: backend.write([update(parents, count, current=count)]))
    return {"child": status}


def _serve(backend: Backend, ids: list[str], count: int) -> None:
    with closing(Servant(backend)) as servant:
        for line in sys.stdin:
            asked = json.loads(line)
            _say(json.dumps(getattr(servant, asked["do"])(**asked["arguments"])))


_ACTS = {Act.WRITE: _write, Act.SUBSCRIBE_CANCELS: _subscribe_cancels, Act.FORK: _fork, Act.SERVE: _serve}


def main() -> None:
    """Run the action that is read from standard input."""
    asked = json.loads(sys.stdin.readline())
    backend = connect(asked["url"])
    if not asked["late"]:
        take_part(backend)
    _say("ready")
    sys.stdin.readline()
    answer = _ACTS[Act(asked["act"])](backend, asked["ids"], asked["count"])
    backend.close()
    _say(json.dumps(answer))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
