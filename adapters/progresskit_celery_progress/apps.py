"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.conf import settings

from progresskit.default_kit import host_settings

RESULT_BACKEND = "celery://"
"""Where progress is kept unless the site says otherwise: where it was before, in the results of the Celery app."""


class CeleryProgressConfig(AppConfig):
    """Gives the default kit the settings of the project; progresskit_django does so where it is there as well."""

    name = "progresskit_celery_progress"
    verbose_name = "progresskit for celery-progress"

    def ready(self) -> None:
        """Pass the settings to the default kit; nothing is opened. Raises ConfigurationError for wrong settings."""
        if not apps.is_installed("progresskit_django"):
            given = {name.lower(): value for name, value in getattr(settings, "PROGRESSKIT", {}).items()}
            host_settings({"url": RESULT_BACKEND} | given)
