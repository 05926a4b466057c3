"""How the server is reached, by a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.conninfo import make_conninfo
from psycopg.errors import OperationalError, ProgrammingError
from sqlalchemy import QueuePool, create_engine, event
from sqlalchemy.exc import ArgumentError

from progresskit.errors import ConfigurationError
from progresskit_sql.dialect import EXAMPLES

from .driver import Connection

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

CONNECT_SECONDS = 2
"""How long it may take to reach the server."""

STATEMENT_MS = 3_000
"""How long the server works on a statement, or waits for a lock of another session, before it gives up by itself."""

KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}
"""An idle connection to a server that is gone is noticed after 19 s (seconds, count, ms)."""

WHOLE = frozenset(("connect_timeout", "keepalives", *KEEPALIVE))
"""The options of libpq that are whole numbers, which it looks at when it connects."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

FLAGS = {"on": True, "off": False, "true": True, "false": False, "1": True, "0": False}


class Address(NamedTuple):
    """
    A URL, without those of its options that are the kit's own.

    `listen=off`: changes are polled, no connection is kept for notifications. `pooler=on`: there is a pooler on
    the way, such as PgBouncer, that lends its connections for one transaction; then there is no listening, no prepared
    statement and no parameter that is set at the start. `schema=…`: the one that the table is in.
    """

    url: URL
    listen: bool
    pooler: bool
    schema: str | None

    @classmethod
    def of(cls, url: URL) -> Address:
        """Take the options out of the URL, and check the driver."""
        if url.drivername not in {"postgresql", "postgresql+psycopg"}:
            raise ConfigurationError(
                f"{url.drivername}:// is another driver's; progresskit needs postgresql+psycopg://"
            )
        pooler = _flag(url, "pooler", default=False)
        return cls(
            url=url.difference_update_query(("listen", "pooler", "schema")).set(drivername="postgresql+psycopg"),
            listen=_flag(url, "listen", default=not pooler),
            pooler=pooler,
            schema=_text(url, "schema"),
        )

    def engine(self) -> Engine:
        """Make an engine in autocommit mode; options in the URL hold."""
        arguments = KEEPALIVE | {"connect_timeout": CONNECT_SECONDS, "application_name": "progresskit"}
        try:
            engine = create_engine(
                self.url,
                isolation_level="AUTOCOMMIT",
                poolclass=QueuePool,
                pool_size=4,
                max_overflow=-1,
                pool_reset_on_return=None,
                use_native_hstore=False,
                connect_args={name: value for name, value in arguments.items() if name not in self.url.query}
                | self._session(),
            )
        except (ArgumentError, TypeError, ValueError):
            raise ConfigurationError(f"not the URL of a database; one looks like {EXAMPLES['postgresql']}") from None
        _check(engine.url)  # which a plugin of SQLAlchemy's has taken its own options from
        event.listen(engine, "do_connect", _connect)
        return engine

    def _session(self) -> dict[str, Any]:
        if self.pooler:
            return {"prepare_threshold": None}
        ours = f"-c statement_timeout={STATEMENT_MS} -c default_transaction_isolation=read\\ committed"
        return {"options": f"{ours} {_text(self.url, 'options') or ''}".strip()}


def _check(url: URL) -> None:
    """Check now for errors that libpq finds as it connects, where they look like a server that is away."""
    for name in url.query:
        value = _text(url, name) or ""
        try:
            make_conninfo(**{name: value})
        except ProgrammingError:
            raise ConfigurationError(f"the URL's option {name} is not known to libpq") from None
        if name in WHOLE and not value.removeprefix("-").isdecimal():
            raise ConfigurationError(f"the URL's option {name} must be a whole number, not {value!r}")
        if name == "sslmode" and value not in SSL_MODES:
            raise ConfigurationError(f"the URL's option sslmode must be one of {', '.join(SSL_MODES)}, not {value!r}")


def _connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Connection:
    try:
        return Connection.connect(*arguments, **options)
    except OperationalError as error:
        if "unsupported startup parameter" in str(error):
            hint = "behind a pooler, put ?pooler=on into the URL, and none of the server's options"
            raise OperationalError(f"{error}: {hint}") from None
        raise


def _text(url: URL, name: str) -> str | None:
    value = url.query.get(name)
    return " ".join(value) if isinstance(value, tuple) else value


def _flag(url: URL, name: str, *, default: bool) -> bool:
    value = _text(url, name)
    if value is None:
        return default
    if value.lower() not in FLAGS:
        raise ConfigurationError(f"the URL's option {name} must be on or off, not {value!r}")
    return FLAGS[value.lower()]
