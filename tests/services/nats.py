"""NATS with JetStream: alone, with TLS, and with a password."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import urlopen

from .ports import free_port
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class NATS(Server):
    """
    A NATS, which keeps streams on disk.

    With `tls`, it takes no connection without; `password` is that of the user `alice`.
    """

    programs = ("nats-server",)

    def __init__(self, *, tls: bool = False, password: str | None = None) -> None:
        super().__init__()
        self.tls, self.password = tls, password
        self._monitor = free_port()

    @property
    def url(self) -> str:
        credentials = f"alice:{quote(self.password, safe='')}@" if self.password else ""
        place = f"{credentials}127.0.0.1:{self.port}/"
        return f"tls://{place}?tls_ca={self.authority}" if self.tls else f"nats://{place}"

    @property
    def authority(self) -> Path:
        """The certificate by which a client knows the server's, with `tls`."""
        return self.folder / "authority.pem"

    def fresh(self) -> str:
        self.call(_delete_streams)
        return self.url

    def call(self, function: Any) -> Any:
        """Run a coroutine that `function` makes of a connected client of nats-py."""
        from progresskit_nats.connection import parse

        async def run() -> Any:
            import nats

            options = {**parse(self.url), "allow_reconnect": False, "connect_timeout": 5, "error_cb": _ignore}
            client = await nats.connect(**options)
            try:
                return await function(client)
            finally:
                await client.close()

        return asyncio.run(run())

    def connections(self) -> int:
        """Return how many clients are connected."""
        with urlopen(f"http://127.0.0.1:{self._monitor}/varz") as answer:
            return int(json.load(answer)["connections"])

    def command(self) -> Sequence[str]:
        return [self.program("nats-server"), "-c", str(self.folder / "nats.conf")]

    def ping(self) -> None:
        async def ask(client: Any) -> None:
            await client.jetstream().account_info()

        self.call(ask)

    def prepare(self) -> None:
        lines = [f"listen: 127.0.0.1:{self.port}", f"http: 127.0.0.1:{self._monitor}"]
        lines.append(f'jetstream: {{store_dir: "{self.folder}/streams"}}')
        if self.password:
            lines.append(f'authorization: {{user: alice, password: "{self.password}"}}')
        if self.tls:
            lines.append(self._certificate())
        (self.folder / "nats.conf").write_text("\n".join(lines) + "\n")

    def _certificate(self) -> str:
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(str(self.authority))
        key, chain = self.folder / "server.key", self.folder / "server.pem"
        issued.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return f'tls: {{cert_file: "{chain}", key_file: "{key}"}}'


async def _ignore(error: Exception) -> None:
    """Do not log it: `connect` raises it as well."""


async def _delete_streams(client: Any) -> None:
    manager = client.jetstream()
    for stream in await manager.streams_info():
        await manager.delete_stream(stream.config.name)
