"""
Serve the site on a free port of this machine, which is printed.

By threads; or, where SITE_SOCKETS is set, by ASGI with its WebSockets.
"""

from __future__ import annotations

import os
import socket
from importlib import import_module
from wsgiref.simple_server import make_server

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def serve_by_threads() -> None:
    application = StaticFilesHandler(get_wsgi_application())
    with make_server("127.0.0.1", 0, application, ThreadedWSGIServer, Quiet) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def serve_asgi() -> None:
    import uvicorn
    from django.core.management import call_command

    application = import_module("shop.asgi").application
    if os.environ["SITE_AUTHORIZE"] == "user":
        call_command("migrate", verbosity=0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
        server.run(sockets=[listening])


if __name__ == "__main__":
    serve_asgi() if "SITE_SOCKETS" in os.environ else serve_by_threads()
