"""
Every task of Django's task framework is a job, without a line in the task.

    INSTALLED_APPS += ["progresskit_django_tasks"]

It is for `django.tasks` of Django 6 and for the backport `django-tasks`. Inside a task `progresskit.current()`,
`progresskit.track()` and `progresskit.observe()` report to its job.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_django_tasks", "django-tasks"):
    import django  # noqa: F401

from progresskit.integrations import owned_by

__all__ = ["owned_by"]
