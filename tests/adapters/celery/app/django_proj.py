"""The same app, in a Django project whose database the results are in."""

from __future__ import annotations

import json
import os
from importlib import import_module

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_celery_results"],
    DATABASES={"default": json.loads(os.environ["PROJ_DATABASE"])},
    USE_TZ=True,
)
django.setup()

app = import_module("proj").app  # not before Django is set up
