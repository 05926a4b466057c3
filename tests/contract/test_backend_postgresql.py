"""The contract, held by PostgreSQL."""

from __future__ import annotations

from .suites import contract_of

TestPostgreSQL = contract_of("postgresql", __name__)
