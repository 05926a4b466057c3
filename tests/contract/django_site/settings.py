"""The settings of a site whose tasks are executed by the backend that the environment names."""

from __future__ import annotations

import os

SECRET_KEY = "of a test"
USE_TZ = True
BACKEND = os.environ["TASKS_BACKEND"]
INSTALLED_APPS = [BACKEND.split(".")[0], "progresskit_django_tasks"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["TASKS_ADDRESS"],
        "OPTIONS": {
            "timeout": 60,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",  # the host does not crash
        },
    }
}
TASKS = {"default": {"BACKEND": BACKEND}}

if BACKEND.startswith("django_tasks_rq"):
    INSTALLED_APPS += ["django_rq"]
    RQ_QUEUES = {"default": {"URL": os.environ["TASKS_ADDRESS"]}}
    DATABASES = {}
