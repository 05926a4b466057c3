"""The contract of shims, for django-wsgi."""

from __future__ import annotations

from .shims import suite_of

TestDjangoWsgi = suite_of("django-wsgi", __name__)
