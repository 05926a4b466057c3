"""The contract, held by a cluster of Redis nodes."""

from __future__ import annotations

from .suites import contract_of

TestRedisCluster = contract_of("redis-cluster", __name__)
