"""An ordinary site: a Django with its usual middleware, with a page that queries a database and renders a template."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path

SECRET_KEY = "the secret of this site, long enough for it"
ROWS = 100
PAGE = """<!doctype html><title>Orders</title><table>
{% for number, customer, amount in orders %}<tr><td>{{ number }}<td>{{ customer }}<td>{{ amount|floatformat:2 }}
{% endfor %}</table>"""


def orders(request: HttpRequest) -> HttpResponse:
    """Answer with a table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT number, customer, amount FROM orders ORDER BY amount LIMIT %s", [ROWS])
        found = cursor.fetchall()
    return HttpResponse(template.render({"orders": found}, request))


def _set_up() -> None:
    urls: Any = ModuleType("busy_urls")
    sys.modules[urls.__name__] = urls
    settings.configure(
        SECRET_KEY=SECRET_KEY,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=urls.__name__,
        INSTALLED_APPS=["progresskit_django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["BUSY_DATABASE"]}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        PROGRESSKIT={"URL": os.environ["BUSY_URL"]},
    )
    django.setup()
    urls.urlpatterns = [path("", orders), path("progress/", include("progresskit_django.urls"))]


_set_up()
template = engines["django"].from_string(PAGE)
wsgi = get_wsgi_application()
