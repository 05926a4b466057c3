"""Progress in Redis: one hash a job, one Lua compare-and-set, pub/sub."""

from __future__ import annotations

from .backend import RedisBackend

__all__ = ["RedisBackend"]
