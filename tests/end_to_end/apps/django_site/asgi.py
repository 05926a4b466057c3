"""The Django project under ASGI."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from tests.end_to_end.apps.site import logged_asgi

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.end_to_end.apps.django_site.settings")

application = logged_asgi(get_asgi_application())
