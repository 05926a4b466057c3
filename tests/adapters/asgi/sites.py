"""
The sites that the tests of `progresskit_asgi` serve, and the servers that serve them, each a process of its own.

Each site has a page at `/` and progress below `/progress/`, mounted in the way of its framework; none shares anything
with the tests but the secret key and the backend's URL, which the environment says.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from progresskit_asgi import ProgressApp
from tests.cli.processes import environment
from tests.contract.clients import eventually
from tests.services.ports import free_port

SECRET = "the secret of these sites, long enough"
PAGE = "<!doctype html>{{ progress_bar(id, cancel=True) }}"
ID = "from-the-page"


class Site(NamedTuple):
    """A site by the name of its function below, and the command of the server that serves it."""

    app: str
    server: str

    @property
    def name(self) -> str:
        return f"{self.app}-{self.server}"


SERVERS = {
    "httptools": ("uvicorn", "--factory", "--http", "httptools", "--log-level", "warning", "--lifespan", "auto"),
    "h11": ("uvicorn", "--factory", "--http", "h11", "--log-level", "warning"),
    "hypercorn": ("hypercorn", "--log-level", "warning"),
    "granian": ("granian", "--interface", "asgi", "--factory", "--log-level", "warning"),
}
SITES = (
    Site("bare", "httptools"),
    Site("bare", "h11"),
    Site("bare", "hypercorn"),
    Site("bare", "granian"),
    Site("starlette", "httptools"),
    Site("starlette", "hypercorn"),
    Site("fastapi", "httptools"),
    Site("fastapi", "granian"),
    Site("litestar", "httptools"),
    Site("django", "httptools"),
    Site("quart", "httptools"),
    Site("quart", "hypercorn"),
)


def bare() -> Any:
    """Give the application by itself."""
    return ProgressApp()


def starlette() -> Any:
    """Mount it in Starlette, below a middleware that wraps what it sends, with the bar in a template."""
    import jinja2
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Mount, Route
    from starlette.templating import Jinja2Templates

    progress = ProgressApp()
    loader = jinja2.DictLoader({"page.html": PAGE})
    templates = Jinja2Templates(env=jinja2.Environment(loader=loader, autoescape=True))
    templates.env.globals["progress_bar"] = progress.progress_bar

    async def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "page.html", {"id": ID})

    routes = [Route("/", page), Mount("/progress", app=progress)]
    return Starlette(routes=routes, middleware=[Middleware(GZipMiddleware, minimum_size=1)])


def fastapi() -> Any:
    """Mount it in FastAPI."""
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    progress, app = ProgressApp(), FastAPI()
    app.mount("/progress", progress)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        return f"<!doctype html>{progress.progress_bar(ID, cancel=True)}"

    return app


def litestar() -> Any:
    """Mount it in Litestar."""
    from litestar import Litestar, MediaType, asgi, get

    progress = ProgressApp()

    @get("/", media_type=MediaType.HTML, sync_to_thread=False)
    def page() -> str:
        return f"<!doctype html>{progress.progress_bar(ID, cancel=True)}"

    return Litestar([page, asgi("/progress", is_mount=True, copy_scope=True)(progress)])


def django() -> Any:
    """Answer before Django does, as its ASGI file may."""
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    progress = ProgressApp()

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"<!doctype html>{progress.progress_bar(ID, cancel=True)}")

    class Urls:
        urlpatterns = (path("", page),)

    settings.configure(SECRET_KEY="Django's own", ALLOWED_HOSTS=["*"], ROOT_URLCONF=Urls)
    rest = get_asgi_application()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (progress if scope["path"].startswith("/progress/") else rest)(scope, receive, send)

    return application


def quart() -> Any:
    """Answer before Quart does."""
    from quart import Quart, render_template_string

    progress, app = ProgressApp(), Quart("site")
    app.jinja_env.globals["progress_bar"] = progress.progress_bar
    rest = app.asgi_app

    @app.get("/")
    async def page() -> str:
        return await render_template_string(PAGE, id=ID)

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        is_ours = scope["type"] != "lifespan" and scope["path"].startswith("/progress/")
        await (progress if is_ours else rest)(scope, receive, send)

    app.asgi_app = dispatch  # type: ignore[method-assign]
    return app


@contextmanager
def serving(site: Site, url: str, **more: str) -> Iterator[str]:
    """Serve a site, with this backend; give its address."""
    port = free_port()
    program, *options = SERVERS[site.server]
    target = f"tests.adapters.asgi.sites:{site.app}{'()' if program == 'hypercorn' else ''}"
    place = ("--bind", f"127.0.0.1:{port}") if program == "hypercorn" else ("--host", "127.0.0.1", "--port", str(port))
    command = [sys.executable, "-m", program, *options, *place, target]
    given = environment({"PROGRESSKIT_URL": url, "PROGRESSKIT_SECRET_KEY": SECRET} | more)
    with subprocess.Popen(command, env=given, start_new_session=True) as process:
        try:
            assert eventually(lambda: process.poll() is not None or listens(port), 60)
            assert process.poll() is None, f"{site.name} did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            end(process)


def listens(port: int) -> bool:
    """Return whether somebody answers there."""
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and the processes it has made."""
    import os
    import signal
    from contextlib import suppress

    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
