"""The contract of shims, for django-asgi."""

from __future__ import annotations

from .shims import suite_of

TestDjangoAsgi = suite_of("django-asgi", __name__)
