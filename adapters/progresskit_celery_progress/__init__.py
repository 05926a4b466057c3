"""
A drop-in replacement for celery-progress: the same modules, addresses, JSON and JavaScript.

A site changes one name, `celery_progress` to `progresskit_celery_progress`, in its imports and INSTALLED_APPS. The
names of its addresses (`celery_progress:task_status`) and of its static files stay.
"""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_celery_progress", "celery-progress"):
    import celery  # noqa: F401
