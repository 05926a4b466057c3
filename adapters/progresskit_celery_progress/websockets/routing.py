"""The address of the sockets, for the URLRouter of Channels."""

from __future__ import annotations

from django.urls import re_path

from .consumers import ProgressConsumer

urlpatterns = [re_path(r"^ws/progress/(?P<task_id>[\w-]+)/?$", ProgressConsumer.as_asgi())]
