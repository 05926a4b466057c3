"""Progress in one table of an SQL database, by way of SQLAlchemy: `sqlite:///path.db`."""

from __future__ import annotations

from .backend import SQLBackend

__all__ = ["SQLBackend"]
