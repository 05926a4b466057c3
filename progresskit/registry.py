"""The class of each backend, found by the scheme of its URL, and the packages that it needs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import MissingPackage, UnknownScheme
from .urls import scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .abc import Backend

# The class of each backend, and the extra with its dependencies. The core names adapters here and nowhere else.
BACKENDS: dict[str, tuple[str, str | None]] = {
    "memory": ("progresskit.memory:MemoryBackend", None),
    "sqlite": ("progresskit_sql:SQLBackend", "sql"),
    "postgresql": ("progresskit_sql:SQLBackend", "sql"),
    "mysql": ("progresskit_sql:SQLBackend", "sql"),
    "mariadb": ("progresskit_sql:SQLBackend", "sql"),
    "redis": ("progresskit_redis:RedisBackend", "redis"),
    "rediss": ("progresskit_redis:RedisBackend", "redis"),
    "unix": ("progresskit_redis:RedisBackend", "redis"),
    "nats": ("progresskit_nats:NATSBackend", "nats"),
    "tls": ("progresskit_nats:NATSBackend", "nats"),
    "amqp": ("progresskit_rabbitmq:RabbitMQBackend", "rabbitmq"),
    "amqps": ("progresskit_rabbitmq:RabbitMQBackend", "rabbitmq"),
    "celery": ("progresskit_celery.state:CeleryBackend", "celery"),
    "kombu": ("progresskit_kombu:KombuBackend", "kombu"),
}

VARIANTS = {
    "redis": ("redis", "redis+sentinel", "redis+cluster"),
    "rediss": ("rediss", "rediss+sentinel", "rediss+cluster"),
    "kombu": ("kombu+TRANSPORT",),
}
"""The spellings of schemes that are looked up by the part before their `+`."""

ALIASES = {"rabbitmq": "amqp", "pyamqp": "amqp", "valkey": "redis", "pg": "postgresql", "file": "sqlite"}
"""Names of schemes in other projects, for suggestions."""

ENTRY_POINTS = "progresskit.backends"


def backend_class(url: str) -> type[Backend]:
    """
    Return the class that serves the URL: of the kit's own table, else of the entry points of installed packages.

    A scheme with a driver (`postgresql+psycopg`) is looked up whole, then by the part before the `+`. Raises
    UnknownScheme, or MissingPackage where a dependency of the adapter is not installed.
    """
    scheme = scheme_of(url) or "..."
    for name in dict.fromkeys((scheme, scheme.split("+", 1)[0])):
        if name in BACKENDS:
            return _load(name, *BACKENDS[name])
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    for name in (scheme, scheme.split("+", 1)[0]):
        if name in found:
            loaded: type[Backend] = found[name].load()
            return loaded
    variants = (VARIANTS.get(name, (name,)) for name in BACKENDS.keys() | found.keys())
    known = sorted(f"{name}://" for names in variants for name in names)
    base = scheme.split("+", 1)[0]
    meant = ALIASES.get(base) or nearest(base, [*BACKENDS, *found])
    hint = f" (did you mean {meant}://?)" if meant else ""
    raise UnknownScheme(f"no backend for {scheme}://{hint}; known are {', '.join(known)}")


def _load(scheme: str, target: str, extra: str | None) -> type[Backend]:
    from importlib import import_module

    module, _, attribute = target.partition(":")
    try:
        loaded: type[Backend] = getattr(import_module(module), attribute)
    except ImportError as error:
        raise missing_package(f"{scheme}://", error, extra) from error
    return loaded


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar known name; None if there is none."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, 1)), None)


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Raise MissingPackage, which names the extra, for a package that is imported inside and not installed."""
    try:
        yield
    except ImportError as error:
        raise missing_package(what, error, extra) from error


def missing_package(what: str, error: ImportError, extra: str | None, *packages: str) -> MissingPackage:
    """
    Return the error that names the package which is missing, or cannot be loaded, and the command that brings it.

    `packages` are those that are needed and that no extra brings.
    """
    cause = error.__cause__ if isinstance(error, MissingPackage) else error
    command, package = " ".join((f'"progresskit[{extra}]"', *packages)), error.name or error
    if isinstance(cause, ModuleNotFoundError):
        problem = f"which is not installed: pip install {command}"
    else:  # it is too old, or has no library of its own, or is not made for a subinterpreter
        problem = f"which cannot be loaded ({cause}); for a version that can: pip install --upgrade {command}"
    return MissingPackage(f"{what} needs the package {package}, {problem}", name=error.name)
