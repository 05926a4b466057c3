"""Memcached, which forgets everything when it ends."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence


class Memcached(Server):
    """A memcached."""

    programs = ("memcached",)
    user = "nobody"

    @property
    def url(self) -> str:
        return f"memcache://127.0.0.1:{self.port}/"

    def fresh(self) -> str:
        assert self.ask(b"flush_all") == b"OK"
        return self.url

    def prepare(self) -> None:
        pass

    def command(self) -> Sequence[str]:
        return [self.program("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64"]

    def ping(self) -> None:
        assert self.ask(b"version").startswith(b"VERSION")

    def ask(self, command: bytes) -> bytes:
        """Send a command and return the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(command + b"\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline().strip()
