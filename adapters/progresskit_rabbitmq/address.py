"""The address of the broker: a URL as pika reads it, with two more options, or pika's own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pika import URLParameters
from pika.connection import Parameters

from progresskit.errors import ConfigurationError
from progresskit.urls import check_server_url, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS = {"heartbeat": 30, "socket_timeout": 2.0, "stack_timeout": 4.0, "connection_attempts": 1}
"""The defaults of a URL, in seconds: so that no call hangs, and a dead network is noticed."""

JOURNAL_BYTES = 256 << 20
"""The largest size of the journal on the broker's disk; a job that has ended takes about 1.5 KB of it."""

JOBS = 50_000
"""How many jobs a process keeps; those that ended first are forgotten first."""


class Address(NamedTuple):
    """The parameters of a connection, the broker's name in messages, and the two bounds."""

    parameters: Parameters
    name: str
    journal_bytes: int = JOURNAL_BYTES
    jobs: int = JOBS


def parse(broker: str | Parameters, options: Mapping[str, Any]) -> Address:
    """Return the address of a URL or of pika's parameters; raises ConfigurationError for a wrong one."""
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(broker, Parameters):
        return _bounded(Address(broker, f"{broker.host}:{broker.port}{_vhost(broker)}"), given)
    if not isinstance(broker, str):
        raise ConfigurationError(f"a URL or pika.ConnectionParameters is needed, not {type(broker).__name__}")
    if broker.partition("://")[0].lower() not in {"amqp", "amqps"}:
        raise ConfigurationError(
            f"{redact(broker)} is not a broker's URL; one looks like amqp://user:password@host/vhost"
        )
    check_server_url(broker)
    split = urlsplit(broker)
    query = parse_qsl(split.query, keep_blank_values=True)
    ours: dict[str, Any] = {name: value for name, value in query if name in {"journal_bytes", "jobs"}}
    pikas = {name: value for name, value in query if name not in ours}
    if ours:
        broker = urlunsplit(split._replace(query=urlencode(pikas)))
    return _bounded(Address(_parameters(broker, pikas), redact(broker)), ours | given)


def _parameters(url: str, query: Mapping[str, str]) -> Parameters:
    try:
        parameters = URLParameters(url)
    except Exception as error:
        # The message of pika may hold the URL and so a password; the error of a missing certificate file holds none.
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise ConfigurationError(
            f"{redact(url)} is not understood{why}; a name or a password is percent-encoded where it holds one of "
            "`/ ? # : @ %`, and the options are those of pika.URLParameters, and `journal_bytes` and `jobs`"
        ) from None
    for name, value in DEFAULTS.items():
        if name not in query:
            setattr(parameters, name, value)
    if "client_properties" not in query:
        parameters.client_properties = {"connection_name": "progresskit"}
    return parameters


def _bounded(address: Address, options: Mapping[str, Any]) -> Address:
    return address._replace(
        journal_bytes=_whole("journal_bytes", options.get("journal_bytes", JOURNAL_BYTES), 1 << 20),
        jobs=_whole("jobs", options.get("jobs", JOBS), 100),
    )


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < least:
        raise ConfigurationError(f"{name} must be a whole number of {least} or more, not {value!r}")
    return number


def _vhost(parameters: Parameters) -> str:
    return "/" if parameters.virtual_host == "/" else f"/{parameters.virtual_host}"
