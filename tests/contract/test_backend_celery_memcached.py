"""The contract, kept in the result backend of a Celery app: Memcached."""

from __future__ import annotations

from .suites import contract_of

TestCeleryMemcached = contract_of("celery-memcached", __name__)
