"""The Django project under WSGI."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from tests.end_to_end.apps.site import logged_wsgi

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.end_to_end.apps.django_site.settings")

application = logged_wsgi(get_wsgi_application())
