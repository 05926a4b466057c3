"""Which store goes with which result backend of Celery's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .address import backend_class

if TYPE_CHECKING:
    from .store import Store

CACHE = "on_cache:CacheStore"

STORES = {
    "celery.backends.redis.RedisBackend": "on_redis:RedisStore",
    "celery.backends.database.DatabaseBackend": "on_database:DatabaseStore",
    "django_celery_results.backends.database.DatabaseBackend": "on_django:DjangoStore",
    "celery.backends.filesystem.FilesystemBackend": "on_files:FileStore",
    "celery.backends.cache.CacheBackend": CACHE,
}
"""By the class, or one that it derives from; every other one is used as Celery uses it."""


def store_class(app: Any) -> type[Store]:
    """Return the store for the result backend of an app; ConfigurationError for one that cannot serve."""
    backend, url = backend_class(app)
    names = [f"{base.__module__}.{base.__qualname__}" for base in backend.__mro__]
    target = next((STORES[name] for name in names if name in STORES), "on_any:AnyStore")
    if target == CACHE and (url or app.conf.cache_backend or "").startswith("memory"):
        target = "on_any:MemoryStore"
    module, _, name = target.partition(":")
    found: type[Store] = getattr(import_module(f".{module}", __package__), name)
    return found
