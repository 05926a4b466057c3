"""
Everything below the mount, as one address.

Django turns a coroutine view under WSGI, and a plain one under ASGI, into a detour through another thread per request.
A process may be either, so the view is chosen when the address is resolved.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from typing import Any

from django.urls.resolvers import RegexPattern, URLPattern

from .views import async_view, view


class _ByServer(URLPattern):
    def resolve(self, path: str) -> Any:
        match = super().resolve(path)
        if match is not None and _get_running_loop() is not None:
            match.func = async_view
        return match


app_name = "progresskit"
urlpatterns = [_ByServer(RegexPattern(r"^(?P<path>[\s\S]*)$", name="mount", is_endpoint=True), view, name="mount")]
