"""
Parses a URL, and makes its client.

    redis://user:password@host:6379/0        rediss:// the same over TLS        unix:///path/to.sock?db=0
    redis+sentinel://host,host:26379/service/0        redis+cluster://host:7000,host:7001        rediss+… over TLS

The query holds options of redis-py's connections: `ssl_ca_certs`, `socket_timeout`, `client_name` …; with Sentinels
also `sentinel_username` and `sentinel_password`, which are for them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis, RedisCluster, Sentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.retry import Retry

from progresskit.errors import ConfigurationError
from progresskit.urls import check_server_url, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    OnConnect = Callable[[Any], None]

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
"""How long a call waits for an answer; in a cluster, where several servers may be asked in vain, half of it."""

PORTS = {"": 6379, "sentinel": 26379, "cluster": 6379}

FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")

KINDS = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


class Address(NamedTuple):
    """A URL, taken apart; `options` are those of each connection."""

    url: str
    kind: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any]
    sentinel_options: dict[str, Any]

    @property
    def db(self) -> int:
        """The number of the database."""
        return int(self.options.get("db", 0))

    def client(self, on_connect: OnConnect) -> Any:
        """Make the client, which calls `on_connect` to ready each connection; only that of a cluster connects now."""
        make = {"": self._single, "sentinel": self._sentinel, "cluster": self._cluster}[self.kind]
        return make({**self.options, "redis_connect_func": on_connect})

    def _single(self, options: dict[str, Any]) -> Any:
        return Redis(connection_pool=ConnectionPool(**options, retry=Retry(NoBackoff(), 0)))

    def _sentinel(self, options: dict[str, Any]) -> Any:
        tls = {"ssl": True} if options.pop("connection_class") is SSLConnection else {}
        sentinel: Any = Sentinel(self.hosts, sentinel_kwargs=self.sentinel_options | tls)
        return sentinel.master_for(self.service, **options, **tls, retry=Retry(NoBackoff(), 0))

    def _cluster(self, options: dict[str, Any]) -> Any:
        nodes = [ClusterNode(host, port) for host, port in self.hosts]
        options.pop("db", None)
        tls = options.pop("connection_class") is SSLConnection
        return RedisCluster(startup_nodes=nodes, **options | ({"ssl": True} if tls else {}))


def parsed(url: str) -> Address:
    """Take a URL apart; raises ConfigurationError, without the password."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in KINDS:
        raise ConfigurationError(f"no such kind of Redis: {scheme}://; known are {', '.join(f'{k}://' for k in KINDS)}")
    check_server_url(url)
    base, _, kind = scheme.lower().partition("+")
    try:
        first, hosts, service = _taken_apart(base, kind, rest)
        options: dict[str, Any] = parse_url(f"{base}://{first}")
        address = Address(url, kind, _split(hosts, PORTS[kind]), service, options, {})
        return _completed(address)
    except (TypeError, ValueError, OSError) as error:
        raise ConfigurationError(f"{redact(url)}: {error}") from None


def _taken_apart(base: str, kind: str, rest: str) -> tuple[str, str, str]:
    """Return the URL of one server, the hosts, and the service of Sentinels."""
    if base == "unix":
        return rest, "", ""
    place, question, query = rest.partition("?")
    credentials, at, place = place.rpartition("@")
    hosts, _, path = place.partition("/")
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and not service:
        raise ValueError("the service that the Sentinels watch is missing: redis+sentinel://host:26379/service/0")
    if kind == "cluster" and db not in {"", "0"}:
        raise ValueError("a cluster has no databases but 0")
    if db and not db.isdigit():
        raise ValueError(f"not the number of a database: {db}")
    return f"{credentials}{at}{'one' if kind else hosts}/{db}{question}{query}", hosts if kind else "", service


def _split(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for host in hosts.split(",") if hosts else ():
        name, colon, number = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not colon:
            name, number = host, str(port)
        if not name or not number.isdigit():
            raise ValueError(f"not a host, or host:port: {host!r}")
        found.append((name.strip("[]"), int(number)))
    return tuple(found)


def _completed(address: Address) -> Address:
    """Add defaults, and check now for errors that would show later."""
    options = address.options
    if address.kind and not address.hosts:
        raise ValueError("there is no host in it")
    sentinel = {
        name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
    }
    connection = options.setdefault("connection_class", Connection)
    if "ssl_cert_reqs" in options:  # Celery writes CERT_NONE
        options["ssl_cert_reqs"] = str(options["ssl_cert_reqs"]).lower().removeprefix("cert_")
    for name in FILES:
        if name in options and not os.path.exists(options[name]):
            raise ValueError(f"{name}: there is no {options[name]}")
    defaults = _defaults(address.kind, options)
    options = defaults | options
    if address.kind:
        options.pop("host", None)
        options.pop("port", None)
    _check(connection, options)
    timeouts = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl_", "protocol"))}
    return address._replace(options=options, sentinel_options=timeouts | sentinel)


def _defaults(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": CALL_SECONDS / 2 if kind == "cluster" else CALL_SECONDS,
        "protocol": 2,
    }
    if issubclass(options["connection_class"], Connection):
        defaults["socket_keepalive"] = True
    if options["connection_class"] is SSLConnection and options.get("ssl_cert_reqs") != "none":
        defaults["ssl_check_hostname"] = True  # redis-py before 6 leaves it out
    return defaults


def _check(connection: type[Any], options: dict[str, Any]) -> None:
    """
    Make a pool and a connection, which does not connect, so that an option that it does not know shows at once.

    The modules that the first of each imports are there then, in the threads that connect.
    """
    given = {name: value for name, value in options.items() if name not in {"connection_class", "max_connections"}}
    try:
        ConnectionPool(connection_class=connection, **given).make_connection()
    except TypeError as error:
        name = re.findall(r"'\w+'|$", str(error))[0]  # Python 3.13 goes on, and proposes another
        tls = " without TLS (rediss://)" if "ssl_" in name and connection is not SSLConnection else ""
        raise ValueError(f"no connection{tls} has the option {name}") from None
