"""What Django does with the app when it starts."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from progresskit.kit import framework


class ProgressKitConfig(AppConfig):
    """Gives the default kit the settings of the project."""

    name = "progresskit_django"
    verbose_name = "progresskit"

    def ready(self) -> None:
        """Hand the settings over; nothing is opened."""
        framework(
            _secret_keys() | {name.lower(): value for name, value in getattr(settings, "PROGRESSKIT", {}).items()}
        )


def _secret_keys() -> dict[str, Any]:
    try:
        return {"secret_key": [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]}
    except ImproperlyConfigured:
        return {}  # Django runs some commands without; whoever signs is told then
