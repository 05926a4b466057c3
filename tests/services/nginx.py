"""nginx, in front of other servers of this machine."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Nginx(Server):
    """
    An nginx that passes requests on, with all that it does by default: it buffers, and asks by HTTP/1.0.

    `places` says for the beginning of a path which servers have it, in turn, by their addresses. All that can be
    compressed is, streams of events too.
    """

    programs = ("nginx",)
    user = "nobody"

    def __init__(self, places: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._places = places

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fresh(self) -> str:
        raise NotImplementedError("a proxy stores nothing")

    def command(self) -> Sequence[str]:
        return [self.program("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def ping(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2):
            pass

    def prepare(self) -> None:
        temporary = [f"{kind}_temp_path {self.folder}/{kind};" for kind in ("fastcgi", "proxy", "scgi", "uwsgi")]
        lines = [
            "daemon off;",
            "error_log stderr;",
            f"pid {self.folder}/nginx.pid;",
            "events { worker_connections 512; }",
            "http {",
            *temporary,
            f"client_body_temp_path {self.folder}/body;",
            "access_log off;",
            "gzip on;",
            "gzip_min_length 1;",
            "gzip_proxied any;",
            "gzip_types *;",
            *self._upstreams(),
            "server {",
            f"listen 127.0.0.1:{self.port};",
            *(f"location {path} {{ proxy_pass {self._way(path)}; }}" for path in self._places),
            "}",
            "}",
        ]
        (self.folder / "nginx.conf").write_text("\n".join(lines) + "\n")

    def _upstreams(self) -> Iterator[str]:
        for path, addresses in self._places.items():
            if len(addresses) > 1:
                servers = " ".join(f"server {address.removeprefix('http://')};" for address in addresses)
                yield f"upstream {_name(path)} {{ {servers} }}"

    def _way(self, path: str) -> str:
        """Return where nginx passes on to, which is also the Host header that a server gets."""
        addresses = self._places[path]
        return addresses[0] if len(addresses) == 1 else f"http://{_name(path)}"


def _name(path: str) -> str:
    return path.strip("/") or "site"
