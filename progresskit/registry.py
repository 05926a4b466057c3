"""The class of each backend, found by the scheme of its URL, and the packages that it needs; observers by name."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .abc import Observer
from .errors import ConfigurationError, MissingPackage, UnknownScheme
from .urls import scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .abc import Backend
    from .observer_list import Notify

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

OBSERVERS = {"logging": "progresskit.observers:Logging", "terminal": "progresskit.observers:Terminal"}
"""The classes of the kit's own observers, by their names in the setting `observers`."""

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


def checked_observers(given: Any) -> tuple[str | Notify, ...]:
    """
    Return the observers of a setting: Observers, functions and names, which may be one text with commas.

    A name is one of the kit's own observers, or `module:attribute`. Raises ConfigurationError for another value.
    """
    items = given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
    named = (item.strip() if isinstance(item, str) else item for item in items)
    return tuple(_checked_observer(item) for item in named if item != "")


def _checked_observer(given: Any) -> str | Notify:
    if not isinstance(given, str):
        if isinstance(given, type) or not (isinstance(given, Observer) or callable(given)):
            raise ConfigurationError(f"observers must be names, Observers or functions of a Progress, not {given!r}")
        observer: Notify = given
        return observer
    module, _, attribute = given.partition(":")
    if given in OBSERVERS or (module and attribute):
        return given
    meant = nearest(given, OBSERVERS)
    hint = f" (did you mean {meant!r}?)" if meant else ""
    raise ConfigurationError(
        f"no observer is called {given!r}{hint}; there are {', '.join(OBSERVERS)}, and your own as 'module:Class'"
    )


def load_observer(given: str | Notify) -> Notify:
    """
    Return an observer of the setting, made if it is named by its class.

    Raises ConfigurationError where it cannot be imported or made.
    """
    if not isinstance(given, str):
        return given
    from importlib import import_module

    module, _, attribute = OBSERVERS.get(given, given).partition(":")
    try:
        loaded: Any = getattr(import_module(module), attribute)
        observer: Notify = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise ConfigurationError(f"the observer {given!r} cannot be made: {error}") from error
    return observer


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
