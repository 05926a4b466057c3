"""Parts in Redis, under faults."""

from __future__ import annotations

from .parts import PartsUnderFaults


class TestRedis(PartsUnderFaults):
    name = "redis"


class TestRedisThatForgets(PartsUnderFaults):
    name = "redis, nothing persistent"
    forgets = True
