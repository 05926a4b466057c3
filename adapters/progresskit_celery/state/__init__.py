"""Progress in the result backend that a Celery app already has: `celery://`, `celery://proj.app:app`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import finalize

from progresskit.abc import Backend
from progresskit.registry import backend_class
from progresskit_celery.mirror import mirror_in

from .address import app_of, result_backend_class
from .server import server_of

if TYPE_CHECKING:
    from progresskit.config import Settings

    from .store import Store

__all__ = ["CeleryBackend"]

CACHE = "on_cache:CacheStore"

STORES = {
    "django_celery_results.backends.database.DatabaseBackend": "on_django:DjangoStore",
    "celery.backends.filesystem.FilesystemBackend": "on_files:FileStore",
    "celery.backends.cache.CacheBackend": CACHE,
}
"""By the class of a result backend, or one that it derives from; every other one is used as Celery uses it."""


class CeleryBackend(Backend):
    """
    Makes the backend of `celery://`; there is no object of this class.

    On Redis and on a database that is the kit's own backend for them, at the server of the app's result backend; else
    each record is a result of its own. While the function of a task runs, the task's own state mirrors its record.
    """

    imports_site_code = True

    @classmethod
    def from_url(cls, url: str, settings: Settings) -> Backend:
        """Make it for the app of a URL; ConfigurationError for a result backend that cannot serve."""
        app = app_of(url)
        server = server_of(app)
        if server is not None:
            mirror_in(app, server.mirror)
            kind = backend_class(server.url)
            made = kind.from_url(server.url, settings._replace(prefix=server.prefix + settings.prefix))
            finalize(made, server.mirror.close).atexit = False  # a kit that is closed lets go of its backend
            return made
        from .results import ResultsBackend

        store = store_class(app)(app)
        if store.mirrors:
            mirror_in(app, store)
        return ResultsBackend(store, prefix=settings.prefix)


def store_class(app: Any) -> type[Store]:
    """Return the store for the result backend of an app."""
    backend, url = result_backend_class(app)
    names = [f"{base.__module__}.{base.__qualname__}" for base in backend.__mro__]
    target = next((STORES[name] for name in names if name in STORES), "on_any:AnyStore")
    if target == CACHE and (url or app.conf.cache_backend or "").startswith("memory"):
        target = "on_any:MemoryStore"
    module, _, name = target.partition(":")
    found: type[Store] = getattr(import_module(f".{module}", __package__), name)
    return found
