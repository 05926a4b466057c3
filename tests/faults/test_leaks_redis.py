"""What two hundred jobs leave behind in Redis."""

from __future__ import annotations

from .leaks import Leaks


class TestRedis(Leaks):
    name = "redis"
