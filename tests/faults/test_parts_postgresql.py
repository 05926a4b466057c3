"""Parts in PostgreSQL, under faults."""

from __future__ import annotations

from .parts import PartsUnderFaults


class TestPostgreSQL(PartsUnderFaults):
    name = "postgresql"
