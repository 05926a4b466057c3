from __future__ import annotations

import os
import threading

from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path


def page(request: HttpRequest, kind: str, id: str) -> HttpResponse:
    return render(request, "page.html", {"status": f"celery_progress:{kind}", "id": id})


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    login(request, get_user_model().objects.get_or_create(username=name)[0])
    return HttpResponse()


def use_kit(request: HttpRequest, act: str) -> HttpResponse:
    """Close the kit, or configure it anew; or tell whether it watches."""
    from progresskit.default_kit import default

    if act == "close":
        default().close()
    elif act == "configure":
        default().configure(interval=default().settings.interval / 2)
    return HttpResponse(any(thread.name == "progresskit-hub" for thread in threading.enumerate()))


urlpatterns = [
    path("celery-progress/", include(f"{os.environ['SITE_PACKAGE']}.urls")),
    path("page/<kind>/<id>/", page),
    path("kit/<act>/", use_kit),
    path("sign-in/<name>/", sign_in),
]
