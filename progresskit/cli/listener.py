"""The listening TCP socket of `serve` and `demo`."""

from __future__ import annotations

import socket
from typing import Any


def listen_tcp(address: tuple[Any, ...], family: int = socket.AF_INET, backlog: int | None = None) -> socket.socket:
    """
    Return a TCP socket that listens at the address; OSError where that cannot be.

    Its protocol is named, which `socket.create_server` leaves out: asyncio sets TCP_NODELAY only where it says TCP.
    Without that option the body of an answer waits for the acknowledgement of its head, which is 40 ms on a connection
    that was used before.
    """
    listening = socket.create_server(address, family=family, backlog=backlog)
    return socket.socket(listening.family, listening.type, socket.IPPROTO_TCP, listening.detach())
