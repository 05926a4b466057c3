"""A fresh store on each database, which a test can also look at behind the backend's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine, NullPool, create_engine

from progresskit.testing import FakeClock
from progresskit_sql import SQLBackend
from tests.services import missing, patience, server
from tests.services.patience import be_patient


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    missing_service: Callable[..., NoReturn],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Give the URL of a fresh store; a server that is only busy is waited for."""
    name: str = request.param
    if name == "sqlite":
        be_patient(patience.SQLITE, monkeypatch)
        return f"sqlite:///{tmp_path}/progress.db"
    if reason := missing(name):
        missing_service(name, reason)
    be_patient(patience.POSTGRESQL if name == "postgresql" else patience.MARIADB, monkeypatch)
    return server(name).fresh()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend(url: str, clock: FakeClock) -> Iterator[SQLBackend]:
    with closing(SQLBackend(url, clock=clock)) as backend:
        yield backend


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Give an engine as an application has it."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ask(url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Give a way to ask the database behind the backend's back."""

    def ask(statement: str) -> list[tuple[Any, ...]]:
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    return ask
