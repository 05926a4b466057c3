"""Progress over any transport of Kombu that has fanout: `kombu+redis://`, `kombu+amqp://`, `kombu+memory://`."""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_kombu", "kombu"):
    from .backend import KombuBackend

__all__ = ["KombuBackend"]
