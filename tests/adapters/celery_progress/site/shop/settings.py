from __future__ import annotations

import os
from pathlib import Path
from typing import Any

PACKAGE = os.environ["SITE_PACKAGE"]
FOLDER = Path(os.environ["SITE_FOLDER"])

SECRET_KEY = "the secret of this site, long enough"
DEBUG = True  # which has it serve static files
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
STATIC_URL = "static/"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    PACKAGE,
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "site.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [Path(__file__).parent], "OPTIONS": {}}
]

if "SITE_SOCKETS" in os.environ:
    INSTALLED_APPS += [f"{PACKAGE}.websockets", "channels"]
if layer := os.environ.get("SITE_LAYER"):
    # A socket that is idle for longer than the timeout is broken off: with the default, after 5 seconds.
    HOST = {"address": layer, "socket_timeout": 60}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [HOST]}}}


def _is_guest(request: Any, id: str, right: str) -> bool:
    return id.startswith("guest-") and right == "watch"


async def _is_guest_later(request: Any, id: str, right: str) -> bool:
    return _is_guest(request, id, right)


def _is_own(request: Any, id: str, right: str) -> bool:
    return request.user.is_authenticated and id.startswith(f"{request.user.username}-")


def _is_let_in(request: Any, id: str, right: str) -> bool:
    return (FOLDER / f"{id}-may-be-seen").exists()


if rule := os.environ["SITE_AUTHORIZE"]:
    RULES = {"sync": _is_guest, "async": _is_guest_later, "user": _is_own, "file": _is_let_in}
    PROGRESSKIT = {"AUTHORIZE": RULES[rule]}
