"""
The server of a result backend for which the kit has a backend of its own, as the URL of that.

The way to the server is carried over: host, credentials, TLS, Sentinels, the schema of a table. Pools, timeouts and
rules for repeating a call are not: the kit's own hold. An option that cannot be written in a URL raises
ConfigurationError, for without it another server may be meant, or none be reached.
"""

from __future__ import annotations

from ssl import VerifyMode
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from celery.backends.redis import RedisBackend, SentinelBackend

from progresskit.errors import ConfigurationError

from .address import result_backend_class
from .mirrors import DatabaseMirror, RedisMirror

if TYPE_CHECKING:
    from collections.abc import Mapping

REMEDY = "give progresskit another URL, or an object by progresskit.configure(backend=…)"

DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
"""The schemes of the kit's backend by the kind of database, whatever driver Celery uses."""


class Server(NamedTuple):
    """A server, the beginning of all names in it, and the store of the states of tasks."""

    url: str
    prefix: str
    mirror: RedisMirror | DatabaseMirror


def server_of(app: Any) -> Server | None:
    """Return the server that an app keeps its results on; None where the kit has no backend of its own for it."""
    kind, url = result_backend_class(app)
    if issubclass(kind, RedisBackend):
        options = app.conf.result_backend_transport_options or {}
        return Server(_redis_url(_made(app), options), _key_prefix(options), RedisMirror(app))
    if any(base.__module__ == "celery.backends.database" for base in kind.__mro__):
        url = str(url or app.conf.database_url)
        name = url.partition("://")[0].partition("+")[0]
        if name == "sqlite" or name in DRIVERS:
            return Server(_database_url(url, name, app.conf), "", DatabaseMirror(app))
    return None


def _made(app: Any) -> Any:
    try:
        return app.backend
    except Exception as error:  # its text may have the URL in it, and so a password
        raise ConfigurationError(
            f"the result backend of the Celery app cannot be had: {type(error).__name__}; look at its URL, and at "
            "redis_backend_use_ssl"
        ) from None


def _redis_url(backend: Any, options: Mapping[str, Any]) -> str:
    given = backend.connparams
    if given.get("credential_provider") is not None:
        raise ConfigurationError(f"progresskit cannot use the credential provider of the Celery app: {REMEDY}")
    query = {name: _text(name, value) for name, value in given.items() if name.startswith("ssl_") and value is not None}
    query |= {name: str(given[name]) for name in ("client_name", "health_check_interval") if given.get(name)}
    scheme = "rediss" if "ssl_cert_reqs" in query else "redis"
    user, password = (quote(str(given.get(name) or ""), safe="") for name in ("username", "password"))
    credentials = f"{user}:{password}@" if user or password else ""
    if "path" in given:
        return f"unix://{credentials}{given['path']}?{urlencode({'db': given.get('db') or 0} | query)}"
    place = f"{given.get('db') or 0}"
    if isinstance(backend, SentinelBackend):
        scheme += "+sentinel"
        sentinel = options.get("sentinel_kwargs") or {}
        query |= {f"sentinel_{name}": str(sentinel[name]) for name in ("username", "password") if sentinel.get(name)}
        place = f"{options.get('master_name') or ''}/{place}"
    hosts = ",".join(_host(each) for each in given.get("hosts", [given]))
    return f"{scheme}://{credentials}{hosts}/{place}{'?' if query else ''}{urlencode(query)}"


def _host(given: Mapping[str, Any]) -> str:
    host = given["host"]
    return f"[{host}]:{given['port']}" if ":" in host else f"{host}:{given['port']}"


def _key_prefix(options: Mapping[str, Any]) -> str:
    """Return the app's `global_keyprefix`, completed as Celery does it."""
    prefix = str(options.get("global_keyprefix") or "")
    return prefix if not prefix or prefix[-1] in ":_-." else f"{prefix}_"


def _database_url(url: str, name: str, conf: Any) -> str:
    options = conf.database_engine_options or {}
    if "creator" in options:
        raise ConfigurationError(f"progresskit cannot use `creator` of database_engine_options: {REMEDY}")
    query = {key: _text(key, value) for key, value in (options.get("connect_args") or {}).items()}
    schema = (conf.database_table_schemas or {}).get("task")
    if schema and name == "postgresql":
        query["schema"] = str(schema)
    place = url.partition("://")[2]
    extra = f"{'&' if '?' in place else '?'}{urlencode(query)}" if query else ""
    return f"{DRIVERS.get(name, name)}://{place}{extra}"


def _text(name: str, value: Any) -> str:
    if isinstance(value, VerifyMode):
        return value.name.removeprefix("CERT_").lower()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigurationError(f"progresskit cannot use the option {name} of the result backend: {REMEDY}")
