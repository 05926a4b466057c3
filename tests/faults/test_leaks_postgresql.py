"""What two hundred jobs leave behind in PostgreSQL."""

from __future__ import annotations

from .leaks import Leaks


class TestPostgreSQL(Leaks):
    name = "postgresql"
