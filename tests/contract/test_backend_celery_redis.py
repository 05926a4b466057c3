"""The contract, kept in the result backend of a Celery app: Redis."""

from __future__ import annotations

from .suites import contract_of

TestCeleryRedis = contract_of("celery-redis", __name__)
