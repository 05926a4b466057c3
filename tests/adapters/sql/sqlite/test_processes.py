"""Several processes and one file: who makes it, and what a fork takes along."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend
from tests.services import patience
from tests.services.forking import Child, Signal, needs_fork
from tests.services.patience import be_patient

pytestmark = [
    needs_fork,
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(patience.SQLITE, monkeypatch)


@pytest.fixture
def signal() -> Iterator[Signal]:
    with closing(Signal()) as signal:
        yield signal


def open_files(path: Path) -> set[str]:
    """Return which of the database's files this process has open."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    targets = {os.readlink(link) for link in links if link.is_symlink()}
    return {target for target in targets if target.startswith(str(path))}


def test_a_fork_takes_no_connection_along(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    assert open_files(path)

    def look() -> None:
        assert open_files(path) == set()

    assert Child(look).succeeds()
    backend.write([update("job", 2)])
    assert open_files(path)


def test_a_child_loses_nothing_when_its_parent_closes_the_database(
    path: Path, backend: SQLBackend, signal: Signal
) -> None:
    backend.write([start("job")])

    def work() -> None:
        backend.after_fork_in_child()
        backend.write([update("job", 2)])
        signal.wait()
        backend.write([update("job", 3)])

    child = Child(work)
    while backend.read(["job"])["job"].version.seq < 2:
        pass
    backend.close()
    signal.give()
    assert child.succeeds()
    assert backend.read(["job"])["job"].version.seq == 3


def test_a_database_in_memory_begins_empty_in_a_forked_child_and_stays_in_the_parent() -> None:
    with closing(SQLBackend("sqlite://")) as backend:
        backend.write([start("job")])

        def work() -> None:
            backend.after_fork_in_child()
            assert backend.read(["job"]) == {}
            backend.write([start("child")])

        assert Child(work).succeeds()
        assert backend.read(["job", "child"]).keys() == {"job"}
