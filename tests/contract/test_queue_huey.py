"""The contract, held by Huey."""

from __future__ import annotations

from .queues import suite_of

TestRedis = suite_of("huey-redis", __name__)
TestSQLite = suite_of("huey-sqlite", __name__)
