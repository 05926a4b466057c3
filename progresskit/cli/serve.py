"""`progresskit serve`: the HTTP surface as a process of its own, alongside any web stack."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import socket
import sys
from asyncio import get_running_loop, to_thread
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from progresskit.errors import ConfigurationError
from progresskit.hosts import own_hosts
from progresskit.registry import missing_package

from .listener import listen_tcp
from .options import Exit, add_command, kit_of, port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    import uvicorn

    from progresskit.kit import Kit

_DETAILS = """\
Serves polls, streams and WebSockets of pages below /progress/. It shares only the secret key and the backend with the
site that renders the pages, so any number of processes may run behind a load balancer. SIGTERM or Ctrl-C stops it:
streams are ended, and browsers reconnect."""

_BACKLOG = 2_048

LONGEST_STOP_SECONDS = 5
"""So long an answer that is on its way has when it is to stop."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "serve", "serve pages, by ASGI", no="it cannot listen there", details=_DETAILS)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    parser.add_argument("--port", default=8766, type=port, help="the port to listen at, 0 for any that is free (8766)")
    parser.add_argument("--uds", metavar="PATH", help="listen at a Unix domain socket instead")
    parser.add_argument("--prefix", default="/progress", help="the path of the mount (/progress)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until asked to stop."""
    try:
        import httptools  # noqa: F401
        import itsdangerous  # noqa: F401
        import uvicorn  # noqa: F401

        import progresskit_asgi  # noqa: F401
    except ImportError as error:
        raise missing_package("progresskit serve", error, "cli") from error
    with kit_of(arguments) as kit:
        settings = kit.settings
        if not (settings.secret_key or settings.allow_anonymous):
            raise ConfigurationError(
                "pages hold tokens that the site has signed: set PROGRESSKIT_SECRET_KEY to the site's secret key, or "
                "PROGRESSKIT_ALLOW_ANONYMOUS=1 to let everybody watch every job"
            )
        with ExitStack() as stack:
            try:
                listening = stack.enter_context(_listening(arguments))
            except OSError as error:
                where = arguments.uds or f"{arguments.host}, port {arguments.port}"
                print(f"progresskit: cannot listen at {where}: {_reason(error)}", file=sys.stderr)
                return Exit.NO
            announce = _announcement(_where(listening, arguments.prefix), arguments.json)
            server(kit, arguments.prefix, announce, arguments.host).run(sockets=[listening])
    return Exit.OK


@contextmanager
def _listening(arguments: argparse.Namespace) -> Iterator[socket.socket]:
    if arguments.uds is None:
        family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
        address = arguments.host, arguments.port
        with listen_tcp(address, family, _BACKLOG) as listening:
            yield listening
        return
    path = Path(arguments.uds)
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        try:
            path.chmod(0o666)  # every user with access to the folder may connect, as with a port
            listening.listen(_BACKLOG)
            yield listening
        finally:
            path.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove a socket that a process has left which was killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            pass  # it is missing, or not a socket: `bind` reports the problem
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _where(listening: socket.socket, prefix: str) -> dict[str, str]:
    if listening.family is socket.AF_UNIX:
        return {"uds": listening.getsockname(), "prefix": f"{prefix.rstrip('/')}/"}
    host, port = listening.getsockname()[:2]
    return {"url": f"http://{f'[{host}]' if ':' in host else host}:{port}{prefix.rstrip('/')}/"}


def _announcement(where: dict[str, str], as_json: bool) -> Callable[[], None]:
    place = where.get("url") or f"{where['prefix']} on {where['uds']}"
    text = json.dumps(where) if as_json else f"Serving progress at {place} (Ctrl-C stops it)"
    return lambda: print(text, flush=True)


def server(kit: Kit, prefix: str, started: Callable[[], None] | None = None, host: str = "127.0.0.1") -> uvicorn.Server:
    """
    Return the server; `run(sockets=[...])` serves until `should_exit` is set, or a signal asks to stop.

    Requests may be for the `host` that it listens at, for this machine, and for hosts of the setting `allowed_hosts`.
    When it is to stop, the kit's viewers are ended first: the server would wait for them.
    """
    import uvicorn

    from progresskit_asgi.app import served_alone
    from progresskit_asgi.sockets import FRAME_BYTES

    from .connections import SWEEP_TICKS, BoundedProtocol, Sweep

    app = served_alone(prefix, kit, own_hosts(host))

    class Server(uvicorn.Server):
        """Says when it has started, cuts clients off that take too long, and ends streams before it stops."""

        _sweep = Sweep()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if started is not None:
                started()

        async def on_tick(self, counter: int) -> bool:
            if counter % SWEEP_TICKS == 0:
                self._sweep.sweep(self.server_state.connections, get_running_loop().time())
            return await super().on_tick(counter)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.end_streams()
            await to_thread(kit.hub.close)
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # The usual one sends itself the signal again in the end, so that the command would not end with 0.
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True

    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # the setting `trusted_proxies` decides which proxies are trusted
        ws_max_size=FRAME_BYTES,
        timeout_graceful_shutdown=LONGEST_STOP_SECONDS,
    )
    return Server(config)
