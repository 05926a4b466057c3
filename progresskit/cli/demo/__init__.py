"""`progresskit demo`: a real worker and a real page, by default without any server to install."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING

import progresskit
from progresskit.cli.options import Exit, add_command, port
from progresskit.default_kit import default
from progresskit.errors import ConfigurationError
from progresskit.urls import check_server_url, describe, redact, scheme_of

from .folder import Folder
from .processes import WebServer, Worker, listen
from .queues import QUEUES
from .readiness import Ended, until_ready

if TYPE_CHECKING:
    import socket
    from typing import Any

    from .queues import Row
    from .queues.base import Queue
    from .readiness import Events

MAX_STREAMS = 64
"""One for each tab, and a thread for each: little for a demo, where the default is careful."""

_DETAILS = """\
Starts a worker that executes two tasks at once, and a web server. All their files lie in a temporary folder. Ctrl-C
stops both and removes the folder. The demo has its own progress: it takes no --url, and does not touch the backend of
PROGRESSKIT_URL. Where the queue needs a server, the demo uses a queue of its own on it, and removes that at its end."""

_WELCOME = """
  The demo is here:  {url}

  A {title} worker and a web server are running; Ctrl-C stops both and removes all files.
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "demo", "show real jobs on a page", no="it could not start, or a part of it has died",
        details=_DETAILS, backend=False,
    )  # fmt: skip
    parser.add_argument("--queue", default="celery", choices=QUEUES, help="the queue of the worker (celery)")
    brokers = ", ".join(f"{name} {row.broker}" for name, row in QUEUES.items() if row.broker)
    parser.add_argument("--broker", metavar="URL", help=f"the server of the queue ({brokers}; the others need none)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    parser.add_argument("--port", default=8765, type=port, help="the port to listen at, 0 for any that is free (8765)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until asked to stop."""
    if arguments.url is not None or arguments.json:
        raise ConfigurationError("the demo is complete in itself, and takes neither --url nor --json")
    row = QUEUES[arguments.queue]
    broker = _broker(row, arguments.broker)
    events: Events = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: events.put(None))
    _need_packages(row)
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        where = f"{arguments.host}, port {arguments.port}"
        print(f"progresskit: cannot listen at {where}: {error.strerror}; --port 0 takes a free one", file=sys.stderr)
        return Exit.NO
    with listener:
        problem = _run(arguments.queue, broker, listener, events)
    if problem is None:
        return Exit.OK
    print(f"progresskit: {problem}", file=sys.stderr)
    return Exit.NO


def _need_packages(row: Row) -> None:
    with row.needed():
        import charset_normalizer  # noqa: F401
        import flask  # noqa: F401
        import itsdangerous  # noqa: F401
        import sqlalchemy  # noqa: F401
    row.load()


def _broker(row: Row, url: str | None) -> str:
    """Return the URL of the server, the default one unless it is given."""
    if url is None:
        return row.broker
    if not row.broker:
        raise ConfigurationError(f"{row.title} needs no server in the demo, which takes no --broker for it")
    check_server_url(url)
    if scheme_of(url) not in row.schemes:
        known = ", ".join(f"{scheme}://" for scheme in row.schemes)
        raise ConfigurationError(f"{redact(url)} is no broker of {row.title}, whose URLs begin with {known}")
    return url


def _run(name: str, broker: str, listener: socket.socket, events: Events) -> str | None:
    """Run until the first event, and return it; remove all files."""
    row = QUEUES[name]
    with ExitStack() as stack:
        folder = Folder.create()
        stack.callback(folder.remove)
        progresskit.configure(folder.url, max_streams=MAX_STREAMS)
        stack.callback(default().close)
        queue = _prepared(row, folder, broker)
        stack.callback(_remove, queue)
        for _ in range(row.processes):
            stack.callback(Worker(folder, name, broker, events.put).stop)
        return _serve(folder, row.title, queue, listener, events)


def _prepared(row: Row, folder: Folder, broker: str) -> Queue:
    """Return the queue; raises ConfigurationError where its server cannot be reached."""
    try:
        queue = row.load()(folder, broker)
        queue.prepare()
    except Exception as error:  # the errors of clients have no other base in common
        if not broker:
            raise
        problem = " ".join(describe(error, broker).split())  # of psycopg it has several lines
        raise ConfigurationError(
            f"{row.title} needs a server, and {redact(broker)} cannot be used ({problem}): "
            "start it, or name another one with --broker URL"
        ) from error
    return queue


def _remove(queue: Queue) -> None:
    try:
        queue.remove()
    except Exception as error:
        problem = f"{redact(queue.broker)} keeps the queue {queue.name} ({describe(error, queue.broker)})"
        print(f"progresskit: {problem}", file=sys.stderr)


def _serve(folder: Folder, title: str, queue: Queue, listener: socket.socket, events: Events) -> str | None:
    from .page import make_page

    server = WebServer(make_page(folder, queue, title), listener, events.put)
    try:
        until_ready(server.address, queue, events)
        print(_WELCOME.format(url=server.url, title=title), flush=True)
        return events.get()
    except Ended as ended:
        return ended.problem
    finally:
        server.stop()
