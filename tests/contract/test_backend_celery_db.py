"""The contract, kept in the result backend of a Celery app: a database, through SQLAlchemy."""

from __future__ import annotations

from .suites import contract_of

TestCeleryDbPostgresql = contract_of("celery-db-postgresql", __name__)
