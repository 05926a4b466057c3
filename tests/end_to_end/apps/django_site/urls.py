"""The addresses and views of the Django project."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from tests.end_to_end.apps import site


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html><title>The site</title>")


def icon(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


@csrf_exempt
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    site.start_task(request.body)
    return HttpResponse(status=202)


def jobs(request: HttpRequest) -> HttpResponse:
    response = render(request, "jobs.html", {"ids": request.GET.getlist("id"), "watch_only": "watch" in request.GET})
    response["Content-Security-Policy"] = site.CSP
    return response


urlpatterns = [
    path("", index),
    path("favicon.ico", icon),
    path("start/", start),
    path("jobs/", jobs),
    path("progress/", include("progresskit_django.urls")),
]
