"""Progress over any transport of Kombu that has fanout: `kombu+redis://`, `kombu+amqp://`, `kombu+memory://`."""

from __future__ import annotations

from .backend import KombuBackend

__all__ = ["KombuBackend"]
