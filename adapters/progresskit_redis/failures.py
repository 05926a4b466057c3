"""Which of the client library's errors pass, and the texts of those that do not."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

LIBRARIES = ("redis", "valkey")

REFUSED = ("AuthenticationError", "AuthorizationError", "NoPermissionError")
"""Errors that last until the set-up is changed."""

PASSING = (
    "AskError",
    "BusyLoadingError",
    "ClusterDownError",
    "ClusterError",
    "ConnectionError",
    "MasterDownError",
    "MovedError",
    "OutOfMemoryError",
    "ReadOnlyError",
    "RedisClusterException",
    "SlotNotCoveredError",
    "TimeoutError",
    "TryAgainError",
    "ValkeyClusterException",
)
"""The classes of errors after which the same may succeed later."""

CODES = frozenset(
    (
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNKILLABLE",
    )
)
"""Those of a server that the library has no class for, or that come without it: out of a script, to a subscription."""

REFUSED_CODES = ("NOAUTH", "NOPERM", "WRONGPASS")
"""How errors begin that last until the set-up is changed, where they come without a class."""

HINT = "check the user, the password and the rights (see docs/how-to/redis.md)"


class Failures:
    """The errors of the library that a client is of."""

    def __init__(self, client: type[Any], address: str) -> None:
        self._exceptions = _exceptions(client)
        self.address = address
        self.all: tuple[type[Exception], ...] = (
            BackendError,
            OSError,
            *_named(self._exceptions, dir(self._exceptions)),
        )
        self.no_script: type[Exception] = self._exceptions.NoScriptError
        self.elsewhere: tuple[type[Exception], ...] = _named(self._exceptions, ("AskError", "TryAgainError"))
        """Errors of a cluster that tell where a slot has gone, or is going; a MovedError is an AskError."""
        self._refused: tuple[type[Exception], ...] = _named(self._exceptions, REFUSED)
        self._passing: tuple[type[Exception], ...] = (OSError, *_named(self._exceptions, PASSING))

    def translated(self, error: BaseException) -> BackendError:
        """Return the error of the kit's that an error of the library's becomes."""
        if isinstance(error, BackendError):
            return error
        is_refused = isinstance(error, self._refused) or isinstance(error.__cause__, self._refused)
        if is_refused or str(error).startswith(REFUSED_CODES):
            return BackendError(f"{self.address}: {error}; {HINT}")
        now = isinstance(error, self._passing) or _has_code(str(error))
        return (BackendUnavailable if now else BackendError)(f"{self.address}: {error}")


def _exceptions(client: type[Any]) -> ModuleType:
    for base in client.__mro__:
        library, _, module = base.__module__.partition(".")
        if library in LIBRARIES and not module.startswith("asyncio"):
            return import_module(f"{library}.exceptions")
        if library in LIBRARIES:
            raise ConfigurationError(f"{client.__name__} is for asyncio; progresskit needs the client that is not")
    raise ConfigurationError(f"not a client of redis-py or valkey-py: {client.__name__}")


def _named(exceptions: ModuleType, names: Iterable[str]) -> tuple[type[Exception], ...]:
    found: Iterable[Any] = (getattr(exceptions, name, None) for name in names)
    return tuple(each for each in found if isinstance(each, type) and issubclass(each, Exception))


def _has_code(message: str) -> bool:
    """Say whether an error begins with such a code, or a script has passed on one that does."""
    return message.split(" ", 1)[0] in CODES or any(f"-{code} " in message for code in CODES)
