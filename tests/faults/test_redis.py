"""What Redis may suffer."""

from __future__ import annotations

from .suite import Faults


class TestRedis(Faults):
    name = "redis"
