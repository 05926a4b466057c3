"""The result backends of Celery that the tests of `celery://` run on, each with two apps: here, and in a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from progresskit.cli.demo.broker import steady_transport
from progresskit.kit import Kit
from tests.contract.celery_apps import address, django_database, imported, on_django
from tests.services import missing, server

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
        self.app = imported(address(**settings))
        self.app.conf.update(broker_transport=steady_transport())
        self.kit = Kit("memory://")
        from progresskit_celery.state import CeleryBackend

        self.backend = CeleryBackend(self.app)
        self.kit.configure(backend=self.backend)
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
        self.backend.close()
