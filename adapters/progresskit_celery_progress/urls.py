"""The addresses, by the names that templates know: `celery_progress:task_status`, `celery_progress:group_status`."""

from __future__ import annotations

from django.urls import re_path

from .views import get_group_progress, get_progress

app_name = "celery_progress"
urlpatterns = [
    re_path(r"^(?P<task_id>[\w-]+)/$", get_progress, name="task_status"),
    re_path(r"^g/(?P<group_id>[\w-]+)/$", get_group_progress, name="group_status"),
]
