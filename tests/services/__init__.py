"""
Real servers, private to a run: each a process of its own on a free port, in a temporary folder, bound to 127.0.0.1.

`server("redis")` gives the one of this process, started on first use and ended when the process ends; tests that harm
a server start one for themselves by its class. `missing("redis")` says why one cannot be had here.
"""

from __future__ import annotations

import atexit
import os
from functools import cache
from importlib import import_module
from threading import Lock

from .server import Server

SERVERS = {
    "redis": ("redis", "Redis"),
    "postgresql": ("postgresql", "PostgreSQL"),
    "mariadb": ("mariadb", "MariaDB"),
    "rabbitmq": ("rabbitmq", "RabbitMQ"),
    "memcached": ("memcached", "Memcached"),
    "nats": ("nats", "NATS"),
}

_started: dict[tuple[int, str], Server] = {}
_starting = Lock()


def server_class(name: str) -> type[Server]:
    """Return the class of a server, by the name of its service."""
    module, attribute = SERVERS[name]
    found: type[Server] = getattr(import_module(f".{module}", __name__), attribute)
    return found


@cache
def missing(name: str) -> str | None:
    """Return why a server cannot be had on this machine; None where it can."""
    return server_class(name).missing()


def server(name: str) -> Server:
    """Return the server of this process, which tests share and leave unharmed; started on first use."""
    with _starting:
        key = (os.getpid(), name)
        if key not in _started:
            started = server_class(name)()
            started.start()
            _started[key] = started
            atexit.register(started.stop)
        return _started[key]
