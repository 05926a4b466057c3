"""
The one table of shims: each serves the default kit at `/progress/`, by a real server on a free port of this machine.

The sites are such as people have: Django with its usual middleware.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar, NamedTuple

import pytest

from progresskit.cli.listener import listen_tcp
from progresskit.default_kit import default
from progresskit.testing import ShimContract
from progresskit.web import host_settings
from tests.services import server

SECRET, OLD_SECRET = "the secret of these sites, long enough", "the one that they had before it, long too"


class Shim(NamedTuple):
    """
    A way to serve; `site` gives the address of the site while it is served.

    `threaded`, `any_method` and `aborts` are those of `ShimContract`.
    """

    name: str
    site: Callable[[], AbstractContextManager[str]]
    threaded: bool
    any_method: bool = True
    aborts: bool = False


@cache
def set_up_django() -> None:
    """Configure the Django of this process, which can be done once."""
    import django
    from django.conf import settings
    from django.urls import include, path

    class Urls:
        urlpatterns: tuple[Any, ...] = ()

    settings.configure(
        SECRET_KEY=SECRET,
        SECRET_KEY_FALLBACKS=[OLD_SECRET],
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=Urls,
        INSTALLED_APPS=["progresskit_django"],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:django?mode=memory&cache=shared"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
    logging.getLogger("django").setLevel(logging.CRITICAL)
    django.setup()
    Urls.urlpatterns = (path("progress/", include("progresskit_django.urls")),)


def use_django_settings() -> None:
    """Give the default kit what the Django project says, as at the start of a process."""
    set_up_django()
    from django.apps import apps

    apps.get_app_config("progresskit_django").ready()


@contextmanager
def django_wsgi() -> Iterator[str]:
    """Serve as `runserver` does."""
    use_django_settings()
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):  # type: ignore[misc, unused-ignore]
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    with _running(server.serve_forever, server.shutdown):
        yield f"http://127.0.0.1:{server.server_port}"
    server.server_close()


@contextmanager
def django_asgi() -> Iterator[str]:
    """Serve by uvicorn."""
    use_django_settings()
    from django.core.asgi import get_asgi_application

    with uvicorn_serving(get_asgi_application()) as site:
        yield site


@contextmanager
def asgi_app() -> Iterator[str]:
    """Serve by uvicorn, without a framework."""
    from progresskit_asgi import ProgressApp

    host_settings({"secret_key": [SECRET, OLD_SECRET]})
    with uvicorn_serving(ProgressApp()) as site:
        yield site


@contextmanager
def serve_command() -> Iterator[str]:
    """Serve as `progresskit serve` does."""
    from progresskit.cli.serve import server

    host_settings({"secret_key": [SECRET, OLD_SECRET]})
    with _served(server(default(), "/progress")) as site:
        yield site


@contextmanager
def uvicorn_serving(app: Any) -> Iterator[str]:
    """Serve an ASGI application; to uvicorn every client on this machine is a proxy, unless it is told otherwise."""
    import uvicorn

    config = uvicorn.Config(
        app, lifespan="off", log_level="critical", timeout_graceful_shutdown=1, http="h11", proxy_headers=False
    )
    with _served(uvicorn.Server(config)) as site:
        yield site


@contextmanager
def _served(server: Any) -> Iterator[str]:
    with closing(listen_tcp(("127.0.0.1", 0))) as listening:

        def stop() -> None:
            server.should_exit = True

        with _running(lambda: server.run(sockets=[listening]), stop):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def flask_wsgi() -> Iterator[str]:
    """Serve by Flask's own server."""
    from flask import Flask
    from werkzeug.serving import WSGIRequestHandler, make_server

    from progresskit_flask import ProgressKit

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *arguments: Any) -> None:
            pass

    app = Flask("site")
    app.config.update(SECRET_KEY=SECRET, SECRET_KEY_FALLBACKS=[OLD_SECRET])
    ProgressKit(app)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    server.daemon_threads = True  # type: ignore[attr-defined]
    with _running(server.serve_forever, server.shutdown):
        yield f"http://127.0.0.1:{server.server_port}"
    server.server_close()


@contextmanager
def _running(serve: Callable[[], Any], stop: Callable[[], Any]) -> Iterator[None]:
    thread = Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(60)


SHIMS = (
    Shim("django-wsgi", django_wsgi, threaded=True),
    Shim("django-asgi", django_asgi, threaded=False),
    Shim("flask", flask_wsgi, threaded=True, aborts=True),
    Shim("asgi", asgi_app, threaded=False),
    Shim("serve", serve_command, threaded=False, any_method=False),
)


class ShimSuite(ShimContract):
    """The contract of one shim of the table, with owners on more stores."""

    shim: ClassVar[Shim]

    @pytest.fixture(autouse=True)
    def counted(self, record_property: Callable[[str, object], None]) -> None:
        record_property("contract", self.shim.name)

    @pytest.fixture(params=["memory", "sqlite", "redis"])
    def store_url(self, request: pytest.FixtureRequest, tmp_path: Path, needs: Callable[[str], None]) -> str:
        if request.param == "redis":
            needs("redis")
            return server("redis").fresh()
        return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/progress.db"


def suite_of(name: str, module: str) -> type:
    """Return the class of the contract's tests for the shim of that name, as a member of the module."""
    shim = next(shim for shim in SHIMS if shim.name == name)
    flags = {"threaded": shim.threaded, "any_method": shim.any_method, "aborts": shim.aborts}
    members = {"shim": shim, "__module__": module, **flags}
    return type(f"Test{name.title().replace('-', '')}", (ShimSuite,), members)
