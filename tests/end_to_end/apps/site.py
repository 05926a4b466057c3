"""
What both sites have in common: their settings, how they start a task, and what they log.

Each page has the strictest Content-Security-Policy that lets it load what is its own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from .tasks import app as celery

CSP = "default-src 'self'"
SECRET_KEY = os.environ["SITE_SECRET"]


def _public_only(request: object, id: str, right: str) -> bool:
    """Let anybody watch, and nobody cancel, what is called public."""
    return right == "watch" and id.startswith("public-")


def settings() -> dict[str, Any]:
    """Return the settings of progresskit, as the test that started the site has chosen them, by name in capitals."""
    chosen = {"URL": os.environ["SITE_PROGRESS"], **json.loads(os.environ["SITE_SETTINGS"])}
    if chosen.pop("PUBLIC_ONLY", False):
        chosen["AUTHORIZE"] = _public_only
    return chosen


def start_task(body: bytes) -> None:
    """Send the task that the request describes."""
    asked = json.loads(body)
    celery.send_task(f"{__package__}.tasks.{asked['task']}", asked["arguments"], task_id=asked["id"])


def log_request(method: str, path: str, query: str) -> None:
    """Write a line, at the time when the request arrives: a server's own log has a stream when it ends."""
    line = json.dumps({"time": time.time(), "method": method, "path": path, "query": query})
    file = os.open(os.environ["SITE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def logged_wsgi(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Log what a WSGI application is asked."""

    def logged(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        log_request(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
        return app(environ, start_response)

    return logged


def logged_asgi(app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Log what an ASGI application is asked."""

    async def logged(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            log_request(scope["method"], scope["path"], scope["query_string"].decode())
        await app(scope, receive, send)

    return logged
