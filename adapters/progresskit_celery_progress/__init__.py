"""
progresskit in the place of celery-progress: the same modules, addresses, JSON and JavaScript.

A site changes one name, `celery_progress` to `progresskit_celery_progress`, in its imports and INSTALLED_APPS. The
names of its addresses (`celery_progress:task_status`) and of its static files stay.
"""

from __future__ import annotations

try:
    import celery  # noqa: F401
except ImportError as error:
    from progresskit.config import missing_package

    raise missing_package("progresskit_celery_progress", error, "celery_progress") from error
