"""The settings of a small Django project."""

from __future__ import annotations

from tests.end_to_end.apps import site

SECRET_KEY = site.SECRET_KEY
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["progresskit_django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "tests.end_to_end.apps.django_site.urls"
WSGI_APPLICATION = "tests.end_to_end.apps.django_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [__file__.replace("settings.py", "templates")],
    }
]
USE_TZ = True

PROGRESSKIT = site.settings()
