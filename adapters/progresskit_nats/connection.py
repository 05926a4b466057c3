"""A connection to the servers of a URL (see docs/how-to/nats.md), by nats-py."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from nats.aio.client import Client as NATS
from nats.errors import Error, MaxPayloadError, NoServersError
from nats.js.errors import APIError

from progresskit.backends.loops import AsyncioConnection, Unsubscribe
from progresskit.errors import ConfigurationError
from progresskit.urls import check_server_url, redact

CONNECT_SECONDS, CALL_SECONDS, PING_SECONDS = 2, 5, 5

ONCE: dict[str, Any] = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0}
"""Not again and again: the thread does that."""

HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?")
FILES = {"nats": {"credentials"}, "tls": {"credentials", "tls_ca", "tls_cert", "tls_key"}}


def parse(url: str) -> dict[str, Any]:
    """Return the arguments of nats-py's `connect`; raises ConfigurationError for a URL that cannot work."""
    check_server_url(url)
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    credentials, at, hosts = place.rstrip("/").rpartition("@")
    scheme, files = scheme.lower(), dict(parse_qsl(query))
    try:
        if not all(map(HOST.fullmatch, hosts.split(","))):
            raise ValueError("the URL of NATS looks like nats://user:password@host:4222")
        if unknown := files.keys() - FILES[scheme]:
            raise ValueError(f"{scheme}:// has no option {min(unknown)}")
        for path in files.values():
            os.stat(path)
        tls = ssl.create_default_context(cafile=files.get("tls_ca")) if scheme == "tls" else None
        if tls and "tls_cert" in files:
            tls.load_cert_chain(files["tls_cert"], files.get("tls_key"))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{redact(url)}: {error}") from None
    servers = [f"{scheme}://{credentials}{at}{host}" for host in hosts.split(",")]
    return {"servers": servers, "tls": tls, "user_credentials": files.get("credentials")}


class Client(NATS):
    """Sends no password to a server that does not offer TLS where the URL asks for TLS."""

    def _connect_command(self) -> bytes:
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise Error("the server offers no TLS, and the URL is tls://")
        return super()._connect_command()


class Connection(AsyncioConnection[Client]):
    """Keeps a client connected."""

    call_seconds = CALL_SECONDS
    connect_seconds = 2 * CONNECT_SECONDS
    answers = (APIError, MaxPayloadError)

    new_client = Client

    async def connect(self, client: Client) -> None:
        """Try each server."""

        async def end(error: Exception | None = None) -> None:
            if error is None:  # else the connection goes on
                self.end()

        options = parse(self.url) | ONCE | {"connect_timeout": CONNECT_SECONDS, "ping_interval": PING_SECONDS}
        try:
            await client.connect(**options, error_cb=end, closed_cb=end)
        except NoServersError as error:
            raise client.last_error or error from error

    async def subscribe(self, client: Client, channel: str, receive: Callable[[bytes], None]) -> Unsubscribe:
        """Subscribe to a subject."""

        async def on_message(message: Any) -> None:
            receive(message.data)

        return (await client.subscribe(channel, cb=on_message)).unsubscribe

    def is_lasting(self, error: Exception) -> bool:
        """Go by the class of the error."""
        refused = isinstance(error, APIError) and error.code == 400
        return refused or isinstance(error, MaxPayloadError) or "authorization" in str(error).lower()
