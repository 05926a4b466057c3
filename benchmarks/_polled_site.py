"""The site that is polled: a Django with its usual middleware, celery-progress and progresskit side by side."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import django
from celery import Celery
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from progresskit_asgi import ProgressApp


def nothing(request: HttpRequest) -> HttpResponse:
    """Answer as quickly as this Django can."""
    return HttpResponse(b"{}", content_type="application/json")


def _set_up() -> None:
    urls: Any = ModuleType("polled_urls")
    sys.modules[urls.__name__] = urls
    settings.configure(
        SECRET_KEY="the secret of this site, long enough for it",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=urls.__name__,
        INSTALLED_APPS=["celery_progress", "progresskit_django"],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        PROGRESSKIT={"URL": os.environ["POLLED_URL"]},
    )
    django.setup()
    urls.urlpatterns = [
        path("nothing/", nothing),
        path("celery-progress/", include("celery_progress.urls")),
        path("progress/", include("progresskit_django.urls")),
    ]


queue = Celery("polled", backend=os.environ["POLLED_URL"], broker="memory://")
queue.set_default()
_set_up()


def _applications() -> tuple[Any, Any]:
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application(), get_asgi_application()


wsgi, asgi = _applications()
_beside = ProgressApp()


async def beside(scope: Any, receive: Any, send: Any) -> None:
    """Serve Django with progresskit beside it, in one process."""
    await (_beside if scope.get("path", "").startswith("/progress/") else asgi)(scope, receive, send)
