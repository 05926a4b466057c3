"""The contract, kept in the result backend of a Celery app: files."""

from __future__ import annotations

from .suites import contract_of

TestCeleryFile = contract_of("celery-file", __name__)
