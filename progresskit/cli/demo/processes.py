"""The two parts of the demo that run alongside it: the worker, a process, and the web server, a thread."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from select import select
from threading import Thread
from typing import TYPE_CHECKING

from progresskit.cli.listener import listen_tcp

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from .folder import Folder

STOP_SECONDS = 10.0
"""How long a killed process may take to end."""

_LAST_LINES = 15

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def follow_demo(folder: Folder) -> None:
    """End this process, its group and the folder when the demo is gone, killed perhaps; for processes of a worker."""

    def follow() -> None:
        os.read(0, 1)  # standard input ends: the demo holds its other end
        folder.remove()
        os.killpg(os.getpgrp(), signal.SIGKILL)

    Thread(target=follow, daemon=True).start()


class Worker:
    """
    A worker of the queue in a process group of its own: the signal of Ctrl-C reaches the demo alone.

    It learns the broker's URL from its standard input: other users see the command.
    """

    def __init__(self, folder: Folder, queue: str, broker: str, died: Callable[[str], None]) -> None:
        self._folder, self._died, self._stopping = folder, died, False
        # Every process of the worker holds this pipe: its end is the end of the last of them.
        self._alive, held = os.pipe()
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                # The files that it compiles may have anything that Python warns of.
                [sys.executable, "-W", "ignore", "-m", "progresskit.cli.demo.worker", str(folder.path), queue],
                stdin=subprocess.PIPE,  # its end is how the worker learns that the demo was killed
                stdout=log,
                stderr=log,
                pass_fds=(held,),
                start_new_session=True,
                env=os.environ | {"TMPDIR": str(folder.path)},  # so that multiprocessing's files go with the rest
            )
        os.close(held)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died
            self._process.stdin.write(f"{broker}\n".encode())
            self._process.stdin.flush()
        Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        code = self._process.wait()
        if not self._stopping:
            self._died(f"the worker has ended by itself (exit code {code}); its last words:\n{self._last_words()}")

    def _last_words(self) -> str:
        lines = self._folder.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:])

    def stop(self) -> None:
        """End the worker and its children now, and return when they are gone: no task is worth waiting for."""
        self._stopping = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        select([self._alive], [], [], STOP_SECONDS)
        os.close(self._alive)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; OSError where that cannot be."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return listen_tcp(address[:2], family)


class WebServer:
    """Werkzeug's threaded server: a thread a request, so that each stream has one."""

    def __init__(self, app: Flask, listener: socket.socket, died: Callable[[str], None]) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            """Logs no requests, and sends each chunk of a stream at once."""

            disable_nagle_algorithm = True

            def log(self, type: str, message: str, *args: object) -> None:
                pass

        host, port = listener.getsockname()[:2]
        if host in _ANYWHERE:
            host = _ANYWHERE[host]
        self.address = host, port
        """Where this machine reaches it."""
        self._died = died
        self._server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=listener.fileno())
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _serve(self) -> None:
        try:
            self._server.serve_forever(poll_interval=0.1)
        except Exception as error:
            self._died(f"the web server has ended by itself: {error!r}")

    def stop(self) -> None:
        """Answer no more. Streams that are open end with the process, they are not waited for."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
