"""A SQLite file of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from progresskit_sql import SQLBackend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of a database that is not there yet."""
    return tmp_path / "progress.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLBackend]:
    """Give the backend on that place, judged by the real time."""
    with closing(SQLBackend(f"sqlite:///{path}")) as backend:
        yield backend
