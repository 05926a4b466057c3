"""
What WSGI servers need: the body of a request, and connections that are cut off when their time is over.

A thread that writes to a client that stopped reading waits in the operating system, where a stream cannot interrupt it.
Shutting down the socket does.
"""

from __future__ import annotations

import logging
import socket
import struct
from functools import partial
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, Any

from progresskit import background, forks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("progresskit.web")

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
_AT_ONCE = struct.pack("ii", 1, 0)


class Cutoffs:
    """Cuts off connections at their times unless they are removed before; its thread runs only while there are any."""

    def __init__(self) -> None:
        self._runs = False
        self._forget()

    def add(self, abort: Callable[[], None], at: float) -> object:
        """Call `abort` at a time of the monotonic clock; return the argument for `remove`."""
        place = object()
        with self._changed:
            self._due[place] = at, abort
            if not self._runs:
                background.start(self._run, "progresskit-cutoffs", self._stop)
                self._runs = True
            self._changed.notify()
        return place

    def remove(self, place: object) -> None:
        """Leave it alone; it is not being cut off once this returns."""
        with self._changed:
            if self._due.pop(place, None) and not self._due:
                self._changed.notify()

    def _run(self) -> None:
        changed = self._changed
        with changed:
            while self._due:
                now = monotonic()
                for place, (at, abort) in list(self._due.items()):
                    if at <= now:
                        del self._due[place]
                        _guarded(abort)
                if self._due:
                    changed.wait(min(at for at, _ in self._due.values()) - now)
            self._runs = False

    def _stop(self) -> None:
        with self._changed:
            self._due.clear()
            self._changed.notify()

    def _forget(self) -> None:
        self._changed = Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._runs = False


def _guarded(abort: Callable[[], None]) -> None:
    try:
        abort()
    except OSError:
        pass  # it is closed already
    except Exception:
        logger.exception("a connection could not be cut off")


PROCESS = Cutoffs()
"""Of this process."""

forks.after_in_child(PROCESS._forget)


def wsgi_abort(environ: Mapping[str, Any]) -> Callable[[], None] | None:
    """Return a function that cuts off the connection of a WSGI request; None if the server hides its socket."""
    for name in _SOCKETS:
        connection = environ.get(name)
        if connection is not None:
            return partial(_abort, connection)
    return None


def _abort(connection: socket.socket) -> None:
    # By a descriptor of our own: the server's socket may be wrapped (TLS, gevent), and belongs to the server.
    with socket.fromfd(connection.fileno(), connection.family, connection.type) as same:
        # Unread data is of no use any more: the connection is reset when the server closes it.
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        same.shutdown(socket.SHUT_RDWR)


def wsgi_read(environ: Mapping[str, Any]) -> Callable[[int], bytes]:
    """Return the function that reads the body of a WSGI request, which ends where `Content-Length` says."""
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    if environ.get("wsgi.input_terminated"):
        return read
    length = environ.get("CONTENT_LENGTH") or ""
    left = int(length) if length.isascii() and length.isdecimal() else 0

    def read_left(size: int) -> bytes:
        nonlocal left
        data = read(min(size, left)) if left else b""
        left -= len(data)
        return data

    return read_left
