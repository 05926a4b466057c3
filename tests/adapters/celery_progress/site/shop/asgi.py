"""The site with its WebSockets, as Channels has it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path

site = ASGIStaticFilesHandler(get_asgi_application())
WEBSOCKETS = f"{os.environ['SITE_PACKAGE']}.websockets"
consumers, routing = import_module(f"{WEBSOCKETS}.consumers"), import_module(f"{WEBSOCKETS}.routing")


class OwnConsumer(consumers.ProgressConsumer):  # type: ignore[name-defined]
    """A consumer such as sites have that let in not everybody."""

    async def connect(self) -> None:
        if self.scope["url_route"]["kwargs"]["task_id"].startswith("secret-"):
            await self.close()
        else:
            await super().connect()

    async def update_task_progress(self, event: dict[str, Any]) -> None:
        await super().update_task_progress({**event, "data": {"task": self.task_id, **event["data"]}})


urls = [*routing.urlpatterns, path("ws/own/<task_id>/", OwnConsumer.as_asgi())]
application = ProtocolTypeRouter({"http": site, "websocket": AuthMiddlewareStack(URLRouter(urls))})
