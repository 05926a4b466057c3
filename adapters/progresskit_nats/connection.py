"""
A connection to the servers of a URL, by nats-py.

    nats://user:password@host:4222        nats://token@host        tls://host1,host2:4223?tls_ca=/path/ca.pem

The query may hold `tls_ca`, `tls_cert` and `tls_key` (files in PEM), and `credentials` (a file of NATS's own).
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from nats.aio.client import Client as NATS
from nats.errors import Error, MaxPayloadError
from nats.js.errors import APIError

from progresskit.backends.loops import AsyncioConnection, Unsubscribe
from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError
from progresskit.urls import check_server_url, redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONNECT_SECONDS, CALL_SECONDS = 2, 5
"""How long connecting and a call may take."""

OPTIONS: dict[str, Any] = {
    "allow_reconnect": False,  # the thread does
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0,
    "connect_timeout": CONNECT_SECONDS,
    "ping_interval": 5,
}

FILES = ("tls_ca", "tls_cert", "tls_key", "credentials")


def parse(url: str) -> dict[str, Any]:
    """Return the arguments of nats-py's `connect`; raises ConfigurationError for a URL that cannot work."""
    check_server_url(url)
    parts, options = urlsplit(url), dict[str, Any]()
    credentials, at, hosts = parts.netloc.rpartition("@")
    files = dict(parse_qsl(parts.query))
    problem = (
        "the URL of NATS looks like nats://user:password@host:4222" if not hosts or parts.path.strip("/") else None
    )
    for name, path in files.items():
        if name not in FILES or (name != "credentials" and parts.scheme != "tls"):
            problem = f"{parts.scheme}:// has no option {name}"
        elif not os.path.exists(path):
            problem = f"{name} names {path}, which does not exist"
    if problem is None and parts.scheme == "tls":
        try:
            options["tls"] = ssl.create_default_context(cafile=files.get("tls_ca"))
            if "tls_cert" in files:
                options["tls"].load_cert_chain(files["tls_cert"], files.get("tls_key"))
        except OSError as error:
            problem = f"a file of TLS cannot be read: {error}"
    if problem is not None:
        raise ConfigurationError(f"{redact(url)}: {problem}")
    servers = [f"{parts.scheme}://{credentials}{at}{host}" for host in hosts.split(",")]
    return {"servers": servers, "user_credentials": files.get("credentials"), **options}


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

    def __init__(
        self, url: str, on_connect: Callable[[Client], Awaitable[None]], on_gap: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__("progresskit-nats", on_connect, on_gap)
        self._url, self._options = url, parse(url)

    def sibling(self, on_connect: Callable[[Client], Awaitable[None]], on_gap: Callable[[], None]) -> Connection:
        """Return another connection to the same servers."""
        return Connection(self._url, on_connect, on_gap)

    async def connect(self) -> Client:
        """Try each server."""
        client = Client()

        async def end(error: Exception | None = None) -> None:
            if error is None:  # else what is reported is not the end of the connection
                self.end()

        try:
            await client.connect(**self._options, **OPTIONS, error_cb=end, closed_cb=end)
        except (Error, OSError) as error:
            reason = client.last_error or error
            await client.close()
            raise self.translated(reason) from error
        return client

    async def disconnect(self, client: Client) -> None:
        """Close the client."""
        await client.close()

    async def subscribe(self, client: Client, channel: str, receive: Callable[[bytes], None]) -> Unsubscribe:
        """Subscribe to a subject."""

        async def on_message(message: Any) -> None:
            receive(message.data)

        return (await client.subscribe(channel, cb=on_message)).unsubscribe

    async def flush(self, client: Client) -> None:
        """Wait for a PONG."""
        await client.flush()

    def translated(self, error: Exception) -> BackendError:
        """Go by the class of the error; unknown ones may pass."""
        if isinstance(error, BackendError):
            return error
        lasting = isinstance(error, MaxPayloadError) or (isinstance(error, APIError) and error.code == 400)
        kind = BackendError if lasting or "authorization" in str(error).lower() else BackendUnavailable
        return kind(f"{self}: {str(error) or type(error).__name__}")

    def __str__(self) -> str:
        return redact(self._url)
