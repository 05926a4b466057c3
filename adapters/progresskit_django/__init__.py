"""
progresskit for Django: the addresses that pages ask, and the template tag that shows a bar.

    INSTALLED_APPS = [..., "progresskit_django"]
    PROGRESSKIT = {"URL": "sqlite:////var/lib/site/progress.db"}    # any setting of progresskit, in capitals
    urlpatterns = [..., path("progress/", include("progresskit_django.urls"))]

    {% load progresskit %}{% progress_bar "import-42" %}

Keys are signed with SECRET_KEY, and those of SECRET_KEY_FALLBACKS are accepted, unless PROGRESSKIT has a SECRET_KEY.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_django", "django"):
    import django  # noqa: F401
