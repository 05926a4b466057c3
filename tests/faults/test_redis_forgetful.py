"""A Redis that keeps nothing on disk is killed, and has forgotten everything."""

from __future__ import annotations

from .suite import Kills


class TestRedisThatForgets(Kills):
    # A module of its own, for `--dist loadfile` begins with the largest: RabbitMQ, which takes longest, is not to wait.
    name = "redis, nothing persistent"
