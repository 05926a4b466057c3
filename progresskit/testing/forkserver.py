"""
A fork server: a process that has imported the modules of a backend, and forks the processes of a test.

The imports of a backend may take a second; forked processes have them at once.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from functools import cache
from typing import TYPE_CHECKING, Any

from .helpers import PATIENCE, connect

if TYPE_CHECKING:
    from collections.abc import Callable

MAIN = """
import time
real, real_ns, skew = time.time, time.time_ns, [0.0]
time.time, time.time_ns = lambda: real() + skew[0], lambda: real_ns() + int(skew[0] * 10**9)
import sys
from progresskit.testing.forkserver import serve
from progresskit.testing.process import main
serve(int(sys.argv[1]), skew, main)
"""
"""The clock is replaced before modules are imported that might keep a reference to the right one."""

LARGE = 2**16


class ForkServer:
    """The client side of the server, which requests processes."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MAIN, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def fork(self, url: str, skew: float, stdin: int, stdout: int) -> int:
        """Fork a process for the backend of a URL, with a clock that is wrong by `skew` seconds; return its pid."""
        asked = {"url": url, "skew": skew, "path": sys.path, "environ": dict(os.environ)}
        pid = self._ask(asked, [stdin, stdout])
        assert pid, "the fork server cannot make it; why stands on its standard error"
        return pid

    def kill(self, pid: int) -> None:
        """End a process as SIGKILL does, unless it has ended."""
        self._ask({"kill": pid}, [])

    def _ask(self, what: dict[str, Any], files: list[int]) -> int:
        message = json.dumps(what).encode() + b"\n"
        self._socket.sendall(message[socket.send_fds(self._socket, [message], files) :])
        answer, _ = _line(self._socket)
        assert answer, "the fork server has died; why stands on its standard error"
        return int(answer)

    def close(self) -> None:
        """End the server, and with it each process that it made."""
        self._socket.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # it hangs, and the test must not wait indefinitely
            self._process.kill()
            self._process.wait()


@cache
def fork_server() -> ForkServer:
    """Return the one of this process, which ends with it."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def serve(descriptor: int, skew: list[float], main: Callable[[], None]) -> None:
    """Make and end processes as requested on a socket, until the client closes it."""
    made: set[int] = set()
    owner = os.getpid()
    try:
        with socket.socket(fileno=descriptor) as asker:
            while (received := _line(asker))[0]:
                asked, files = json.loads(received[0]), received[1]
                if pid := asked.get("kill"):
                    if pid in made:
                        made.remove(pid)
                        _end(pid)
                elif _prepare(asked):
                    pid = os.fork()
                    if not pid:
                        skew[0] = asked["skew"]
                        _be_the_child(asker, files, main)
                    made.add(pid)
                for file in files:
                    os.close(file)
                asker.sendall(b"%d\n" % (pid or 0))
    finally:
        for pid in made if os.getpid() == owner else ():
            _end(pid)


def _prepare(asked: dict[str, Any]) -> bool:
    """Set the clock and import the modules that the process needs; return whether that succeeded."""
    sys.path[:] = asked["path"]
    for name in os.environ.keys() - asked["environ"].keys():
        del os.environ[name]
    os.environ.update(asked["environ"])
    try:
        connect(asked["url"]).close()
    except Exception:
        traceback.print_exc()
        return False
    return True


def _be_the_child(asker: socket.socket, files: list[int], main: Callable[[], None]) -> None:
    try:
        os.close(asker.detach())
        for standard, file in enumerate(files):
            os.dup2(file, standard)
            os.close(file)
        main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _end(pid: int) -> None:
    """Until it was waited for, no other process can have its pid."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _line(peer: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a line and the files sent with it; an empty line once the peer has closed."""
    line, files, _, _ = socket.recv_fds(peer, LARGE, 2)
    while line and not line.endswith(b"\n"):
        more = peer.recv(LARGE)
        line = line + more if more else b""
    return line, files
