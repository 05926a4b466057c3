"""
A Django project with Celery such as celery-progress's users have.

Whether it has celery-progress itself, or progresskit in its place, is the one name in SITE_PACKAGE.
"""

from __future__ import annotations

import json
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.conf.update(json.loads(os.environ["SITE_CELERY"]))
app.autodiscover_tasks()

if "SITE_INSTALLS" in os.environ:
    import progresskit_celery

    progresskit_celery.install(app)
