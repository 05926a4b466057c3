"""
Celery apps that can be imported by every process of a test, each with a fresh result backend.

A backend of progresskit is made from its URL alone, `celery://module:app`; so for each app a module is written into a
folder that all these processes look for modules in.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from progresskit.config import Settings
from tests.services import server
from tests.services.postgresql import USER, PostgreSQL
from tests.services.proxy import Proxy

from .shims import set_up_django

if TYPE_CHECKING:
    from progresskit_celery.state.results import ResultsBackend

APP = """\
from celery import Celery

app = Celery({name!r}, set_as_current=False)
app.conf.update({settings!r})
"""

DJANGO = """\
import django
from django.apps import apps
from django.conf import settings

DATABASES = {databases!r}
INSTALLED = "django_celery_results"

if settings.configured:  # for other tests of this process, and that can be done once
    from django.db import connections

    apps.set_installed_apps([*(each.name for each in apps.get_app_configs()), INSTALLED])
    for alias, database in DATABASES.items():
        connections[alias].close()
        del connections[alias]
        connections.settings[alias] = connections.configure_settings({{"default": {{}}, alias: database}})[alias]
else:
    settings.configure(INSTALLED_APPS=[INSTALLED], DATABASES=DATABASES, USE_TZ=True)
    django.setup()

"""

_numbers = count(1)


@cache
def modules() -> Path:
    """Return the folder of the modules, in which this process and those it starts look."""
    folder = Path(tempfile.mkdtemp(prefix="progresskit-celery-apps-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    sys.path.append(str(folder))
    return folder


def address(result_backend: str, *, before: str = "", **settings: Any) -> str:
    """Return the URL of progresskit for a new app with that result backend; `before` is Python to begin with."""
    name = f"progresskit_celery_app_{next(_numbers)}"
    settings = {"result_backend": result_backend, "broker_url": "memory://", **settings}
    (modules() / f"{name}.py").write_text(before + APP.format(name=name, settings=settings))
    return f"celery://{name}:app"


def imported(url: str) -> Any:
    """Return the app of a URL, in this process."""
    from progresskit_celery.state.address import app_of

    return app_of(url)


def results_backend(url: str, clock: Callable[[], float] | None = None) -> ResultsBackend:
    """Return the backend of an app of which each record is a result of its own; it judges by the clock."""
    from progresskit_celery.state import store_class
    from progresskit_celery.state.results import ResultsBackend

    app = imported(url)
    return ResultsBackend(store_class(app)(app, clock), prefix=Settings().prefix)


# The stores of the table of backends: each with the function that gives a fresh one, and how it is made unwritable.


@contextmanager
def read_only_postgresql(url: str) -> Iterator[None]:
    """Let the user of the stores read only, as on a standby; the connections there were are gone."""
    _restrict("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        _restrict("RESET default_transaction_read_only")


def _restrict(how: str) -> None:
    postgresql = server("postgresql")
    assert isinstance(postgresql, PostgreSQL)
    postgresql.execute(f"ALTER ROLE {USER} {how}")
    postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")


def on_django(folder: Path) -> str:
    """Give an app whose results are in a Django project's database, which is emptied."""
    url = _migrated()
    from django.db import connections

    with connections["default"].cursor() as cursor:
        cursor.execute("DELETE FROM django_celery_results_taskresult")
    connections["default"].close()
    return url


def django_database() -> dict[str, object]:
    """Return the settings of the Django project's database."""
    parts = urlsplit(server("postgresql").url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "NAME": parts.path.strip("/"),
    }


@cache
def _migrated() -> str:
    set_up_django()  # with what the tests of the shims need: it can be configured once
    url = address("django-db", before=DJANGO.format(databases={"default": django_database()}))
    imported(url)
    from django.core.management import call_command

    call_command("migrate", "django_celery_results", verbosity=0)
    return url


def on_files(folder: Path) -> str:
    (folder / "results").mkdir()
    return address(f"file://{folder}/results")


@contextmanager
def removed_files(url: str) -> Iterator[None]:
    """Take the folder away, as a network does whose file server is gone."""
    folder = Path(imported(url).conf.result_backend.removeprefix("file://"))
    away = folder.with_name("away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


def on_memcached(folder: Path) -> str:
    server("memcached").fresh()
    return address(f"cache+memcached://127.0.0.1:{_memcached_proxy().port}/")


@cache
def _memcached_proxy() -> Proxy:
    proxy = Proxy(server("memcached").port)
    proxy.__enter__()
    atexit.register(proxy.__exit__, None, None, None)
    return proxy


@contextmanager
def unreachable_memcached(url: str) -> Iterator[None]:
    """Cut the way to it."""
    proxy = _memcached_proxy()
    proxy.refuse()
    proxy.cut()
    try:
        yield
    finally:
        proxy.accept()
