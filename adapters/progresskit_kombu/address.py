"""The address of the broker: a URL of Kombu after `kombu+`, or a Connection, which is copied and never used itself."""

# mypy: allow-untyped-calls
from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first thread that connects imports it, maybe while another one forks
import secrets  # noqa: F401 - and redis-py this one
from typing import TYPE_CHECKING, Any

from kombu.connection import Connection

from progresskit.errors import ConfigurationError, MissingPackage
from progresskit.urls import check_server_url, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_SECONDS = 2.0
"""The timeout of a connection attempt."""

CALL_SECONDS = 5.0
"""How long a broker may take for one call."""

HEARTBEAT_SECONDS = 20.0

SCHEME = "kombu+"

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "redis": {
        "socket_timeout": CALL_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
    }
}
"""Options of transports that would wait indefinitely without them, by driver; those of a given connection win."""

WITH_FANOUT = "amqp://, redis://, rediss://, sentinel:// and memory://"


class Address:
    """The parameters of a connection, and the name of the broker without its password."""

    def __init__(self, given: str | Connection) -> None:
        options: Mapping[str, Any] = {}
        self._timeout: float = CONNECT_SECONDS
        self._url: str | None = None
        if isinstance(given, str):
            self._name, self._url = redact(given), _without_scheme(given)
            self._example = _parsed(self._url, self._name)
        else:
            self._name, self._example = f"{SCHEME}{redact(given.as_uri())}", given
            self._timeout, options = given.connect_timeout, given.transport_options or {}
        transport = _checked(self._example, self._name)
        self.driver: str = transport.driver_type
        self.polled: bool = getattr(transport, "polling_interval", None) is not None
        """True where the transport cannot wait for a message, and has to be polled."""
        self.shared = self.driver != "memory"
        self._options = {**OPTIONS.get(self.driver, {}), **options}

    def connect(self, heartbeat: float = 0) -> Connection:
        """Return a new open connection; errors of the driver are raised as they are."""
        details = {
            "transport_options": dict(self._options),
            "connect_timeout": self._timeout,
            "heartbeat": heartbeat,
        }
        connection: Connection = (
            self._example.clone(**details) if self._url is None else Connection(self._url, **details)
        )
        try:
            others = len(connection.alt or ())
            connection.ensure_connection(
                max_retries=max(others, 1), interval_start=0, interval_step=0, interval_max=0, timeout=CALL_SECONDS
            )
            self.limit(connection, CALL_SECONDS)
        except BaseException:
            connection.release()
            raise
        return connection

    def limit(self, connection: Connection, seconds: float) -> None:
        """Set the timeout of all calls of py-amqp, which has no setting for that."""
        socket = getattr(connection.connection, "sock", None) if self.driver == "amqp" else None
        if socket is not None:
            socket.settimeout(seconds)

    def __str__(self) -> str:
        return self._name


def _without_scheme(url: str) -> str:
    if not url.lower().startswith(SCHEME):
        raise ConfigurationError(f"not a URL for Kombu: {redact(url)}; one looks like {SCHEME}redis://localhost/0")
    check_server_url(url)
    return url[len(SCHEME) :]


def _parsed(url: str, name: str) -> Connection:
    transport = url.partition("://")[0]
    try:
        return Connection(url)
    except KeyError:
        raise ConfigurationError(
            f"Kombu has no transport {transport!r}; those with fanout are {WITH_FANOUT}, after {SCHEME}"
        ) from None
    except ImportError as error:
        raise _missing(name, transport, error) from error
    except (TypeError, ValueError):
        # Its own message may hold the URL, and the URL a password.
        raise ConfigurationError(f"Kombu cannot make sense of {name}") from None


def _missing(name: str, transport: str, error: ImportError) -> MissingPackage:
    return MissingPackage(
        f"{name} needs a package that is not installed ({error}); what Kombu's transport {transport} needs comes with "
        f'pip install "kombu[{transport.lower()}]"'
    )


def _checked(connection: Connection, name: str) -> Any:
    """Return the transport, which has to be there and has to have fanout."""
    kind = connection.transport_cls
    try:
        transport = connection.transport
    except ImportError as error:
        raise _missing(name, str(kind), error) from error
    except Exception as error:
        raise ConfigurationError(f"Kombu's transport {kind} cannot be used here: {type(error).__name__}") from error
    types = getattr(transport.implements, "exchange_type", ())
    if "fanout" not in types or not getattr(getattr(transport, "Channel", None), "supports_fanout", True):
        raise ConfigurationError(
            f"Kombu's transport {kind} has no fanout: each message would reach one process only, and progress has to "
            f"reach all that watch. Transports with fanout are {WITH_FANOUT}, after {SCHEME}; or take a store of "
            "another kind, such as redis:// or postgresql+psycopg://, beside the broker of your tasks"
        )
    if transport.driver_type == "filesystem":
        raise ConfigurationError(
            "Kombu's transport filesystem lets a message be taken before it is written, and keeps indefinitely what is "
            "meant for a process that has died; between processes of one machine, sqlite:///path.db does this"
        )
    return transport
