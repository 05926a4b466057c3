"""Parts in a SQLite file, whose workers are killed, and which another program keeps locked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.contract.backends import locked

from .parts import PAUSE_SECONDS, PartsUnderFaults, Store


class TestSQLite(PartsUnderFaults):
    name = "sqlite"
    plan = MappingProxyType({9: "locked"})

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        url = f"sqlite:///{tmp_path / 'progress.db'}"
        return Store(url, url, {"locked": lambda: locked_for_long(url)})


@contextmanager
def locked_for_long(url: str) -> Iterator[None]:
    with locked(url):
        yield
        time.sleep(PAUSE_SECONDS)
