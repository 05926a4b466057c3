"""Ports that nobody else takes while a server is down."""

from __future__ import annotations

import atexit
import random
import socket

# Below the range from which the kernel takes the ports of outgoing connections: one of those could have the port of a
# server that is being restarted, and a client that knocks there again and again would at last connect to itself.
FIRST, LAST = 20_000, 32_000


def free_port() -> int:
    """
    Return a port of 127.0.0.1 that is free, and is given to nobody else until this process ends.

    It is marked by a datagram socket: servers of streams do not mind that, and no two processes can bind one.
    """
    draw = random.SystemRandom()  # a test that seeds its random numbers must not choose ports
    while True:
        port = draw.randrange(FIRST, LAST)
        mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        atexit.register(mark.close)
        if not is_taken(port):
            return port


def is_taken(port: int) -> bool:
    """Return whether a process listens on the port, or holds it in another way."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
