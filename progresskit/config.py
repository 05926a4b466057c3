"""
The settings of a kit.

Each setting may come from four places; the first that has it wins: `configure()` or `Kit()`, the environment
(`PROGRESSKIT_` and the name in capitals), the host framework's settings, the default.

    setting                 default      unit      meaning
    url                     memory://              the backend that carries the records
    interval                0.1          seconds   at most one write, and one poll, in this time
    lease                   30           seconds   a running job without a report for this time is stalled
    heartbeat               lease / 3    seconds   an unchanged job is written again after this time; ttl / 3 if shorter
    ttl                     86,400       seconds   a record lives for this time after its last write
    flush_seconds           2            seconds   the end of a job waits at most this long for its last record
    strict                  False                  bad values raise instead of being dropped
    prefix                  progresskit            prefix of keys, tables and channels in the backend
    secret_key              None                   signs the tokens of pages; a list: the first signs, all are accepted
    authorize               None                   (request, id, right) -> bool: decides about raw ids, over HTTP
    user                    None                   (request) -> the signed-in user; None: the web framework's
    allow_anonymous         False                  every client may watch raw ids, over HTTP
    bind_tokens_to_user     False                  tokens of bars are valid for their user only
    expose_errors           False                  browsers see the messages of all errors
    expose_results          False                  the return value of a task becomes its result
    max_streams             None         count     streams and long polls at once, per process; None: by the server
    max_streams_per_client  32           count     of these, for one user or one address
    trusted_proxies         None         count     how many of your proxies add to X-Forwarded-For; None: unknown
    allowed_hosts           None                   hosts that requests may be for; None: `serve`'s own, else any host
    stream_seconds          25           seconds   a stream on a threaded server is closed after this time
    terminate               False                  cancelling also kills the process of the task, where a queue can
    observers               ()                     observers of all jobs of the process: names, or Observers themselves
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ConfigurationError
from .progress import ID_ALPHABET
from .registry import checked_observers, nearest
from .urls import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from logging import Logger

    from .observer_list import Notify


class Settings(NamedTuple):
    """The settings of one kit; see the module's table."""

    url: str = "memory://"
    interval: float = 0.1
    lease: float = 30.0
    heartbeat: float | None = None
    ttl: float = 86_400.0
    flush_seconds: float = 2.0
    strict: bool = False
    prefix: str = "progresskit"
    secret_key: str | Sequence[str] | None = None
    authorize: Callable[[Any, str, str], Any] | None = None
    user: Callable[[Any], Any] | None = None
    allow_anonymous: bool = False
    bind_tokens_to_user: bool = False
    expose_errors: bool = False
    expose_results: bool = False
    max_streams: int | None = None
    max_streams_per_client: int = 32
    trusted_proxies: int | None = None
    allowed_hosts: Sequence[str] | str | None = None
    stream_seconds: float = 25.0
    terminate: bool = False
    observers: Sequence[str | Notify] = ()

    def __repr__(self) -> str:
        # Neither a password in the URL nor the key may end in a log.
        shown = self._asdict() | {"url": redact(self.url), "secret_key": self.secret_key and "..."}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds after which an unchanged job is written again."""
        return min(self.lease, self.ttl) / 3 if self.heartbeat is None else self.heartbeat


_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off", ""))
_POSITIVE = frozenset(("interval", "lease", "heartbeat", "ttl", "stream_seconds"))
_NOT_NEGATIVE = frozenset(("flush_seconds", "max_streams", "max_streams_per_client", "trusted_proxies"))
_WHOLE = _NOT_NEGATIVE - {"flush_seconds"}
_OPTIONAL = frozenset(
    ("heartbeat", "max_streams", "trusted_proxies", "allowed_hosts", "authorize", "user", "secret_key")
)
_FLAGS = frozenset(("strict", "allow_anonymous", "bind_tokens_to_user", "expose_errors", "expose_results", "terminate"))
_FUNCTIONS = {"authorize": "(request, id, right) -> bool", "user": "(request) -> user"}


def resolve(
    explicit: Mapping[str, Any], framework: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Settings:
    """
    Return the settings that hold, given those of the code and those of the host framework (names in any case).

    Raises ConfigurationError for an unknown name and for a value that cannot be.
    """
    environ = os.environ if environ is None else environ
    from_environment = {
        name: environ[f"PROGRESSKIT_{name.upper()}"]
        for name in Settings._fields
        if name not in _FUNCTIONS and environ.get(f"PROGRESSKIT_{name.upper()}")
    }
    chosen = {name.lower(): value for name, value in framework.items()}
    chosen |= from_environment
    chosen |= explicit
    for name in chosen:
        if name not in Settings._fields:
            meant = nearest(name, Settings._fields)
            hint = f" (did you mean {meant!r}?)" if meant else ""
            raise ConfigurationError(f"no setting is called {name!r}{hint}; there are {', '.join(Settings._fields)}")
    _warn_of_unknown(environ)
    settings = Settings(**{name: _checked(name, value) for name, value in chosen.items()})
    if max(settings.heartbeat_seconds, settings.interval) >= settings.lease:
        raise ConfigurationError("heartbeat and interval must be shorter than lease, or live jobs would look stalled")
    if settings.heartbeat_seconds >= settings.ttl:
        raise ConfigurationError("heartbeat must be shorter than ttl, or the records of live jobs would expire")
    return settings


_OTHER_VARIABLES = frozenset(("PROGRESSKIT_CI", "PROGRESSKIT_FILE", "PROGRESSKIT_ID", "PROGRESSKIT_TEST_SEED"))
"""Variables of the environment that are no settings, and are used all the same."""

_warned_of: set[str] = set()


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    """
    Log a warning, once per process, for each variable PROGRESSKIT_… that is no setting.

    It does not raise, for the environment may be shared with another version.
    """
    for variable in sorted(name for name in environ if name.startswith("PROGRESSKIT_")):
        name = variable.removeprefix("PROGRESSKIT_").lower()
        taken = name in Settings._fields and name not in _FUNCTIONS
        if not taken and variable not in _OTHER_VARIABLES | _warned_of:
            _warned_of.add(variable)
            _log().warning("The environment variable %s is ignored: %s", variable, _why_ignored(name))


def _why_ignored(name: str) -> str:
    if name in _FUNCTIONS:
        return f"{name} is a function {_FUNCTIONS[name]}; give it to configure()"
    meant = nearest(name, set(Settings._fields) - _FUNCTIONS.keys())
    return f"it is no setting{f' (did you mean PROGRESSKIT_{meant.upper()}?)' if meant else ''}"


def _checked(name: str, value: Any) -> Any:
    if name in _FLAGS:
        return _flag(name, value)
    if value is None and name in _OPTIONAL:
        return None
    if name in _POSITIVE or name in _NOT_NEGATIVE:
        return _amount(name, value)
    if name in _FUNCTIONS and not callable(value):
        raise ConfigurationError(f"{name} must be a function {_FUNCTIONS[name]}, not {value!r}")
    if name == "allowed_hosts":
        from .hosts import patterns

        return patterns(value)
    if name == "observers":
        return checked_observers(value)
    if name == "secret_key" and not _is_key(value):
        raise ConfigurationError("secret_key must be a string, or a list of strings")
    if name == "prefix" and not (isinstance(value, str) and value and ID_ALPHABET.issuperset(value)):
        raise ConfigurationError(f"prefix must be a name of A-Z a-z 0-9 _ . : -, not {value!r}")
    if name == "url" and not (isinstance(value, str) and "://" in value):
        raise ConfigurationError(_no_url(value))
    return value


_PORTS = {
    "6379": "redis://",
    "5672": "amqp://",
    "5432": "postgresql+psycopg://",
    "3306": "mysql+pymysql://",
    "4222": "nats://",
}
"""The likely scheme of a server, by its port."""


def _no_url(value: Any) -> str:
    """Return the message for a value that is not a URL, without repeating a part that may hold a password."""
    example = "one looks like 'sqlite:////var/lib/site/progress.db' or 'redis://localhost/0'"
    if not isinstance(value, str) or not value:
        return f"url must be a string: {example}"
    if value.endswith((".db", ".sqlite", ".sqlite3")) and "@" not in value:
        return f"the scheme is missing in url: did you mean sqlite:///{value}?"
    place = value.rpartition("@")[2].partition("/")[0].partition("?")[0]
    scheme = _PORTS.get(place.rpartition(":")[2])
    return f"the scheme is missing in url: {f'did you mean {redact(scheme + place)}?' if scheme else example}"


def _is_key(value: Any) -> bool:
    keys = [value] if isinstance(value, str | bytes) else value
    return isinstance(keys, list | tuple) and all(isinstance(key, str | bytes) for key in keys)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    if isinstance(value, bool):
        return value
    raise ConfigurationError(f"{name} must be true or false, not {value!r}")


def _amount(name: str, value: Any) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(f"{name} must be a number, not {value!r}") from None
    if not (0 < amount < float("inf") or (amount == 0 and name in _NOT_NEGATIVE)):
        raise ConfigurationError(f"{name} must be {'0 or more' if name in _NOT_NEGATIVE else 'over 0'}, not {value!r}")
    if name in _WHOLE:
        if amount != int(amount):
            raise ConfigurationError(f"{name} must be a whole number, not {value!r}")
        return int(amount)
    return amount


def is_relative(url: str) -> bool:
    """Return True for an SQLite file that is another one in each folder that a process is started in."""
    return url.startswith("sqlite:///") and not url.startswith("sqlite:////")


def _log() -> Logger:
    from logging import getLogger

    return getLogger("progresskit")
