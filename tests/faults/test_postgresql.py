"""What PostgreSQL may suffer."""

from __future__ import annotations

from .suite import Faults


class TestPostgreSQL(Faults):
    name = "postgresql"
