"""`progresskit demo`: a real Celery worker and a real page, without any server to install."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from select import select
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

import progresskit
from progresskit.cli.listener import listen_tcp
from progresskit.cli.options import Exit, add_command, port
from progresskit.default_kit import default
from progresskit.errors import ConfigurationError
from progresskit.registry import needs_extra

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from flask import Flask

    Events = SimpleQueue[str | None]
    """
    Events that end the demo: None for a request to stop, a text where a part of it has died.

    A SimpleQueue, because signal handlers may put into it at any moment.
    """

START_SECONDS = 60.0
STOP_SECONDS = 10.0
"""How long a killed worker may take to end."""

MAX_STREAMS = 64
"""One for each tab, and a thread for each: little for a demo, where the default is careful."""

_LAST_LINES = 15

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}

_DETAILS = """\
Starts a worker that executes two tasks at once, and a web server. All their files lie in a temporary folder. Ctrl-C
stops both and removes the folder. The demo has its own progress: it takes no --url, and does not touch the backend of
PROGRESSKIT_URL."""

_WELCOME = """
  The demo is here:  {url}

  A Celery worker and a web server are running; Ctrl-C stops both and removes all files.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "demo", "show real jobs on a page", no="it could not start, or a part of it has died",
        details=_DETAILS, backend=False,
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    parser.add_argument("--port", default=8765, type=port, help="the port to listen at, 0 for any that is free (8765)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until asked to stop."""
    if arguments.url is not None or arguments.json:
        raise ConfigurationError("the demo is complete in itself, and takes neither --url nor --json")
    events: Events = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: events.put(None))
    with needs_extra("the demo", "demo"):
        import flask  # noqa: F401
        import sqlalchemy  # noqa: F401

        import progresskit_celery  # noqa: F401
    host = arguments.host
    try:
        family, *_, address = socket.getaddrinfo(host, arguments.port, type=socket.SOCK_STREAM)[0]
        listener = listen_tcp(address[:2], family)
    except OSError as error:
        where = f"{host}, port {arguments.port}"
        print(f"progresskit: cannot listen at {where}: {error.strerror}; --port 0 takes a free one", file=sys.stderr)
        return Exit.NO
    with listener, TemporaryDirectory(prefix="progresskit-demo-", ignore_cleanup_errors=True) as folder:
        problem = _run(Path(folder), listener, events)
    if problem is None:
        return Exit.OK
    print(f"progresskit: {problem}", file=sys.stderr)
    return Exit.NO


def _run(folder: Path, listener: socket.socket, events: Events) -> str | None:
    """Run until the first event, and return it."""
    from .page import make_page
    from .worker import make_app

    progresskit.configure(f"sqlite:///{folder}/progress.db", max_streams=MAX_STREAMS)
    with ExitStack() as stack:
        stack.callback(default().close)
        stack.enter_context(running_worker(folder, events))
        celery = make_app(folder)
        stack.enter_context(serving(make_page(folder, celery), listener, events))
        first = celery.send_task("hello").id
        deadline = monotonic() + START_SECONDS
        while (progress := progresskit.get(first)) is None or not progress.done:
            if monotonic() > deadline:
                return f"the worker has not taken a task for {START_SECONDS:g} s"
            with suppress(Empty):
                return events.get(timeout=0.05)
        host, port = listener.getsockname()[:2]
        host = _ANYWHERE.get(host, f"[{host}]" if ":" in host else host)
        print(_WELCOME.format(url=f"http://{host}:{port}"), flush=True)
        return events.get()


@contextmanager
def running_worker(folder: Path, events: Events) -> Iterator[None]:
    """
    Run a worker in a process group of its own: the signal of Ctrl-C reaches the demo alone.

    At the end the worker and its children are killed, and gone: no task is worth waiting for.
    """
    # Every process of the worker holds this pipe: its end is the end of the last of them.
    alive, held = os.pipe()
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The files that it compiles may have anything that Python warns of.
            [sys.executable, "-W", "ignore", "-m", "progresskit.cli.demo.worker", str(folder)],
            stdin=subprocess.PIPE,  # its end is how the worker learns that the demo was killed
            stdout=output,
            stderr=output,
            pass_fds=(held,),
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(folder)},  # so that multiprocessing's files go with the rest
        )
    os.close(held)

    def wait() -> None:
        code = process.wait()
        last = "\n".join(f"  {line}" for line in log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:])
        events.put(f"the worker has ended by itself (exit code {code}); its last words:\n{last}")

    waiting = Thread(target=wait, daemon=True)
    waiting.start()
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        waiting.join()
        select([alive], [], [], STOP_SECONDS)
        os.close(alive)


@contextmanager
def serving(app: Flask, listener: socket.socket, events: Events) -> Iterator[None]:
    """
    Serve by Werkzeug's threaded server: a thread a request, so that each stream has one.

    Streams that are open at the end end with the process, they are not waited for.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Logs no requests, and sends each chunk of a stream at once."""

        disable_nagle_algorithm = True

        def log(self, type: str, message: str, *args: object) -> None:
            pass

    host, port = listener.getsockname()[:2]
    server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=listener.fileno())

    def serve() -> None:
        try:
            server.serve_forever(poll_interval=0.1)
        except Exception as error:
            events.put(f"the web server has ended by itself: {error!r}")

    thread = Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
