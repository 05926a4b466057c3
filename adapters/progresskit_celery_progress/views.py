"""The views for the status of a task and of a group."""

from __future__ import annotations

import json
from typing import Any

from celery.result import AsyncResult, GroupResult
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache

from .access import permitted
from .backend import GroupProgress, Progress


@never_cache
def get_progress(request: HttpRequest, task_id: str) -> HttpResponse:
    """Answer for a task; 404 if the site's `authorize` refuses."""
    _open(request, task_id)
    return _json(Progress(AsyncResult(task_id)).get_info())


@never_cache
def get_group_progress(request: HttpRequest, group_id: str) -> HttpResponse:
    """Answer for a group that was saved; 404 for one that was not, or if the site's `authorize` refuses."""
    _open(request, group_id)
    group = GroupResult.restore(group_id)
    if group is None:
        raise Http404
    return _json(GroupProgress(group).get_info())


def _open(request: HttpRequest, id: str) -> None:
    if not permitted(request, id):
        raise Http404


def _json(info: dict[str, Any]) -> HttpResponse:
    return HttpResponse(json.dumps(info), content_type="application/json")
