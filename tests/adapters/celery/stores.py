"""The result backends of Celery that the tests of `celery://` run on, each with two apps: here, and in a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from progresskit.kit import Kit
from tests.contract.celery_apps import address, django_database, imported, on_django
from tests.services import missing, server
from tests.services.steady_broker import steady_transport

from .site import Site
from .worker import PATIENT, Worker, configuration, start_worker


def fresh_memcached() -> str:
    """Empty memcached, and return its URL for Celery."""
    server("memcached").fresh()
    return f"cache+memcached://127.0.0.1:{server('memcached').port}/"


STORES: dict[str, tuple[str | None, Callable[[Path], str]]] = {
    "redis": ("redis", lambda folder: server("redis").fresh()),
    "db-postgresql": ("postgresql", lambda folder: f"db+{server('postgresql').fresh()}"),
    "django-db": ("postgresql", lambda folder: "django-db"),
    "file": (None, lambda folder: f"file://{folder}/results"),
    "memcached": ("memcached", lambda folder: fresh_memcached()),
}
"""The service that each needs, and the result backend on it."""


def lacks(store: str) -> str | None:
    """Return why a store cannot be had here; None where it can."""
    service = STORES[store][0]
    return missing(service) if service else None


GENERIC = ("django-db", "file", "memcached")
"""The stores in which each record is a result of its own."""


def url_on(store: str, folder: Path, **settings: Any) -> str:
    """Return the URL of an app with that result backend."""
    if store == "django-db":
        url = on_django(folder)
        imported(url).conf.update(settings)
        return url
    (folder / "results").mkdir(exist_ok=True)
    return address(STORES[store][1](folder), **settings)


def let_go(app: Any, store: str) -> None:
    """Close what Celery and Django have open in this thread."""
    if store == "django-db":
        from django.db import connections

        connections.close_all()
    elif store == "redis":
        app.backend.client.connection_pool.disconnect()
    elif store == "memcached":
        app.backend.client.close()


def settings_of(store: str, folder: Path) -> dict[str, Any]:
    """Return the settings of an app in the folder, with a fresh result backend."""
    if store == "django-db":
        on_django(folder)
    given = configuration(folder)
    return given | {"result_backend": STORES[store][1](folder)}


class StateSite(Site):
    """A worker whose progress is in its result backend, and this process, which sends it tasks and watches them."""

    def __init__(self, store: str, folder: Path, **how: Any) -> None:
        import progresskit_celery

        settings = settings_of(store, folder)
        self.folder = folder
        url = address(**settings)
        self.app = imported(url)
        self.app.conf.update(broker_transport=steady_transport())
        self.kit = Kit(url)
        progresskit_celery.install(self.app, kit=self.kit)
        self._gates = 0
        self._worker: Worker | None = start_worker(
            folder,
            app="django_proj" if store == "django-db" else "proj",
            env=PATIENT
            | {
                "PROJ_CONFIGURATION": json.dumps(settings),
                "PROJ_DATABASE": json.dumps(django_database()) if store == "django-db" else "",
                "PROGRESSKIT_URL": "celery://proj:app",
            },
            **how,
        )

    def result(self, id: str) -> Any:
        """Return what Celery says of a task, asked anew."""
        return self.app.AsyncResult(id)

    def close(self) -> None:
        """End the worker and what watches it."""
        self.worker.kill()
        self.kit.close()
