"""The contract, held by Redis, alone and in a cluster."""

from __future__ import annotations

from .suites import contract_of

TestRedis = contract_of("redis", __name__)
TestRedisCluster = contract_of("redis-cluster", __name__)
