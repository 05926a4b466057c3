"""The Django project under ASGI, by itself and with the ASGI application of progresskit in front."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

from progresskit_asgi import ProgressApp
from tests.end_to_end.apps.site import logged_asgi

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.end_to_end.apps.django_site.settings")

_django, _progress = get_asgi_application(), ProgressApp()


async def _in_front(scope: Any, receive: Any, send: Any) -> None:
    ours = scope["type"] != "lifespan" and scope["path"].startswith("/progress/")
    await (_progress if ours else _django)(scope, receive, send)


application = logged_asgi(_django)
with_progress_in_front = logged_asgi(_in_front)
