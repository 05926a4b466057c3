"""The contract, kept in the result backend of a Celery app."""

from __future__ import annotations

from .suites import contract_of

TestCeleryRedis = contract_of("celery-redis", __name__)
TestCeleryDbPostgresql = contract_of("celery-db-postgresql", __name__)
TestCeleryDjangoDb = contract_of("celery-django-db", __name__)
TestCeleryFile = contract_of("celery-file", __name__)
TestCeleryMemcached = contract_of("celery-memcached", __name__)
