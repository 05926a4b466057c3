"""The one table of backends: the contract tests run over it, and so may benchmarks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from progresskit.abc import Backend
from progresskit.config import Settings, backend_class
from progresskit.testing import (
    BackendContract,
    FakeClock,
    ListsContract,
    OutageContract,
    PushesContract,
    SharedContract,
)


class Row(NamedTuple):
    """
    A backend: the parts of the contract that are its own, and how its stores are made.

    `url` gives the address of a fresh and empty store, of a service or in a new folder; None says that the service is
    missing. `options` are arguments beside the address and the clock. `outage` makes the store of an address
    unwritable for a while.
    """

    name: str
    parts: tuple[type, ...]
    url: Callable[[Path], str | None]
    options: Mapping[str, Any] = MappingProxyType({})
    outage: Callable[[str], AbstractContextManager[Any]] | None = None

    def make(self, url: str, clock: FakeClock) -> Backend:
        """Return a backend that judges by the clock."""
        backend: type[Any] = backend_class(url)
        if url == "memory://":
            return backend(clock=clock)  # type: ignore[no-any-return]
        return backend(url, prefix=Settings().prefix, clock=clock, **self.options)  # type: ignore[no-any-return]

    @property
    def suite(self) -> tuple[type, ...]:
        """All that the backend has to pass."""
        return (*self.parts, *((OutageContract,) if self.outage else ()), BackendContract)


def service(name: str) -> Callable[[Path], str | None]:
    """Take the address of a service from the environment, `PROGRESSKIT_TEST_…`."""
    return lambda folder: os.environ.get(f"PROGRESSKIT_TEST_{name.upper()}")


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Lock a SQLite file as a program does that writes to it for a long time."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


BACKENDS = [
    Row("memory", (PushesContract, ListsContract), lambda folder: "memory://"),
    Row("sqlite", (ListsContract, SharedContract), lambda folder: f"sqlite:///{folder}/progress.db", outage=locked),
]
