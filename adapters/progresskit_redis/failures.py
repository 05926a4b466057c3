"""Which of the client library's errors pass, and the texts of those that do not."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from progresskit.errors import BackendError, BackendUnavailable, ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

LIBRARIES = ("redis", "valkey")

REFUSED = ("AuthenticationError", "AuthorizationError", "NoPermissionError")
"""Errors that last until the set-up is changed."""

PASSING = (
    "AskError",
    "ClusterError",
    "ConnectionError",
    "OutOfMemoryError",
    "ReadOnlyError",
    "RedisClusterException",
    "TimeoutError",
    "TryAgainError",
    "ValkeyClusterException",
)
"""The classes of errors, with those derived from them, after which the same may succeed later."""

CODES = {
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
}
"""Those of a server that the library has no class for, or that come without it: out of a script, to a subscription."""

REFUSED_CODES = ("NOAUTH", "NOPERM", "WRONGPASS")
"""How errors begin that last until the set-up is changed, where they come without a class."""

HINT = "check the user, the password and the rights (see docs/how-to/redis.md)"


class Failures:
    """The errors of the library that a client is of."""

    def __init__(self, client: type[Any], address: str) -> None:
        self.address = address
        named = vars(_exceptions(client)).values()
        of_library = [each for each in named if isinstance(each, type) and issubclass(each, Exception)]
        self.all: tuple[type[Exception], ...] = (BackendError, OSError, *of_library)

    def translated(self, error: BaseException) -> BackendError:
        """Return the error of the kit's that an error of the library's becomes."""
        if isinstance(error, BackendError):
            return error
        is_refused = is_kind(error, *REFUSED) or is_kind(error.__cause__, *REFUSED)
        if is_refused or str(error).startswith(REFUSED_CODES):
            return BackendError(f"{self.address}: {error}; {HINT}")
        passes = isinstance(error, OSError) or is_kind(error, *PASSING) or _has_code(str(error))
        return (BackendUnavailable if passes else BackendError)(f"{self.address}: {error}")


def is_kind(result: object, *names: str) -> bool:
    """Say whether a result is an error of a class with one of these names; the libraries do not share their classes."""
    return any(kind.__name__ in names for kind in type(result).__mro__)


def _exceptions(client: type[Any]) -> ModuleType:
    for base in client.__mro__:
        library, _, module = base.__module__.partition(".")
        if library in LIBRARIES and not module.startswith("asyncio"):
            return import_module(f"{library}.exceptions")
        if library in LIBRARIES:
            raise ConfigurationError(f"{client.__name__} is for asyncio; progresskit needs the client that is not")
    raise ConfigurationError(f"not a client of redis-py or valkey-py: {client.__name__}")


def _has_code(message: str) -> bool:
    """Say whether an error begins with such a code, or a script has passed on one that does."""
    return message.split(" ", 1)[0] in CODES or any(f"-{code} " in message for code in CODES)
