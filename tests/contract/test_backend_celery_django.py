"""The contract, kept in the result backend of a Celery app: a database, through Django."""

from __future__ import annotations

from .suites import contract_of

TestCeleryDjangoDb = contract_of("celery-django-db", __name__)
