"""`progresskit demo`: a real worker and a real page, without any server to install."""

from __future__ import annotations

import argparse
import signal
import sys
from queue import SimpleQueue
from typing import TYPE_CHECKING

from progresskit.cli.options import Exit, add_command, port
from progresskit.default_kit import default
from progresskit.errors import ConfigurationError
from progresskit.registry import missing_package

from .folder import Folder
from .processes import WebServer, Worker, listen
from .readiness import Ended, until_ready

if TYPE_CHECKING:
    import socket
    from typing import Any

    from .readiness import Events

_DETAILS = """\
Starts a Celery worker with two processes, and a web server. All their files lie in a temporary folder. Ctrl-C stops
both and removes the folder. The demo has its own broker, results and progress: it takes no --url, and does not touch
the backend of PROGRESSKIT_URL."""

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
    _need_packages()
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        where = f"{arguments.host}, port {arguments.port}"
        print(f"progresskit: cannot listen at {where}: {error.strerror}; --port 0 takes a free one", file=sys.stderr)
        return Exit.NO
    with listener:
        problem = _run(listener, events)
    if problem is None:
        return Exit.OK
    print(f"progresskit: {problem}", file=sys.stderr)
    return Exit.NO


def _need_packages() -> None:
    try:
        import celery  # noqa: F401
        import charset_normalizer  # noqa: F401
        import flask  # noqa: F401
        import itsdangerous  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise missing_package("the demo", error, "demo") from error


def _run(listener: socket.socket, events: Events) -> str | None:
    """Run until the first event, and return it; remove all files."""
    folder = Folder.create()
    try:
        worker = Worker(folder, events.put)
        try:
            return _serve(folder, listener, events)
        finally:
            worker.stop()
            default().close()
    finally:
        folder.remove()


def _serve(folder: Folder, listener: socket.socket, events: Events) -> str | None:
    from .page import make_page
    from .tasks import make_queue

    queue = make_queue(folder)
    server = WebServer(make_page(folder, queue), listener, events.put)
    try:
        until_ready(server.address, queue, events)
        print(_WELCOME.format(url=server.url), flush=True)
        return events.get()
    except Ended as ended:
        return ended.problem
    finally:
        server.stop()
