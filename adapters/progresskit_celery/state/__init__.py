"""Progress in the result backend that a Celery app already has: `celery://`, `celery://proj.app:app`."""

from __future__ import annotations

from .backend import CeleryBackend

__all__ = ["CeleryBackend"]
