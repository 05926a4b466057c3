"""The contract, held by Redis."""

from __future__ import annotations

from .suites import contract_of

TestRedis = contract_of("redis", __name__)
