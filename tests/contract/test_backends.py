"""Every backend of the table passes the contract: one class of tests for each, `TestMemory`, `TestSqlite` …"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from progresskit.abc import Backend
from progresskit.testing import FakeClock

from .backends import BACKENDS, Row


class Harness:
    """The fixtures that the parts of the contract use, for one row of the table."""

    row: Row

    @pytest.fixture(autouse=True)
    def counted(self, record_property: Callable[[str, object], None]) -> None:
        record_property("contract", self.row.name)

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def url(self, tmp_path: Path, missing_service: Callable[[str], NoReturn]) -> str:
        return self.row.url(tmp_path) or missing_service(self.row.name)

    @pytest.fixture
    def backend(self, url: str, clock: FakeClock) -> Iterator[Backend]:
        backend = self.row.make(url, clock)
        yield backend
        backend.close()

    @pytest.fixture
    def outage(self, url: str) -> Callable[[], AbstractContextManager[Any]]:
        assert self.row.outage is not None
        begin = self.row.outage
        return lambda: begin(url)


for row in BACKENDS:
    name = f"Test{row.name.title()}"
    globals()[name] = type(name, (Harness, *row.suite), {"row": row, "__module__": __name__})
