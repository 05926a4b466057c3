"""The Django app."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from traceback import walk_stack
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from progresskit.errors import ConfigurationError
from progresskit.web import Surface, host_settings


class ProgressKitConfig(AppConfig):
    """Gives the default kit the settings of the project."""

    name = "progresskit_django"
    verbose_name = "progresskit"

    def ready(self) -> None:
        """
        Pass the settings to the default kit; nothing is opened.

        Raises ConfigurationError for wrong settings, except at the start of a management command. Most commands are
        stopped by a system check then; the others may be the remedy, or build an image without the server's settings.
        """
        register(_check, "progresskit")
        register(_check_urls, "progresskit")
        host_settings(_settings(), check=not _starts_a_command())


def _settings() -> dict[str, Any]:
    given = getattr(settings, "PROGRESSKIT", {})
    if not isinstance(given, Mapping):
        raise ConfigurationError(f'PROGRESSKIT must be a dict, such as {{"URL": …}}, not a {type(given).__name__}')
    return _secret_keys() | {str(name).lower(): value for name, value in given.items()}


def _secret_keys() -> dict[str, Any]:
    try:
        return {"secret_key": [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]}
    except ImproperlyConfigured:
        return {}  # Django runs some commands without a secret key; signing raises then


def _starts_a_command() -> bool:
    management = sys.modules.get("django.core.management")
    if management is None:
        return False
    execute = management.ManagementUtility.execute.__code__
    return any(frame.f_code is execute for frame, _ in walk_stack(None))


def _check(**_: Any) -> list[CheckMessage]:
    try:
        Surface().kit.check(site_loaded=True)
    except ConfigurationError as problem:
        where = "Correct PROGRESSKIT in the settings, or the variables PROGRESSKIT_… of the environment."
        return [Error(str(problem), hint=where, id="progresskit.E001")]
    return []


def _check_urls(**_: Any) -> list[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return []  # a project of workers alone
    try:
        reverse("progresskit:mount", kwargs={"path": ""})
    except NoReverseMatch:
        how = 'Add path("progress/", include("progresskit_django.urls")) to urlpatterns of the project.'
        return [Warning("Pages cannot ask for progress: its URLs are not included.", hint=how, id="progresskit.W001")]
    return []
