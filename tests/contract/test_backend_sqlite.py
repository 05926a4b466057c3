"""The contract, held by SQLite."""

from __future__ import annotations

from .suites import contract_of

TestSQLite = contract_of("sqlite", __name__)
