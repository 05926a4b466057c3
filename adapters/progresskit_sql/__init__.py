"""Progress in two tables of an SQL database, by way of SQLAlchemy: `sqlite:///path.db`, `postgresql+psycopg://…`."""

from __future__ import annotations

from progresskit.registry import needs_extra

with needs_extra("progresskit_sql", "sql"):
    from .backend import SQLBackend, ddl

__all__ = ["SQLBackend", "ddl"]
