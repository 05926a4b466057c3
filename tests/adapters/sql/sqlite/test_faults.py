"""What goes wrong with a file is told as `BackendUnavailable`, and the same backend works again when the file does."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import create_engine, event

from progresskit.errors import BackendError, BackendUnavailable
from progresskit.testing.writes import start, update
from progresskit_sql import SQLBackend
from progresskit_sql.sqlite import BUSY_SECONDS
from tests.services.refusals import refused

IN_TIME = BUSY_SECONDS + 1
"""Seconds within which a call has to end, however long a file stays locked."""

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path, script: str = "BEGIN EXCLUSIVE") -> Iterator[None]:
    """Have another process hold a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(path), script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.communicate("")


def remove(path: Path) -> None:
    """Remove the file and what SQLite has put beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@pytest.mark.timing
def test_a_database_locked_by_another_process_is_waited_for_briefly(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    with locked(path):
        began = monotonic()
        refused(lambda: backend.write([update("job", 2)]), IN_TIME)
        assert monotonic() - began > BUSY_SECONDS * 0.9
        refused(lambda: backend.write([start("job"), start("other")]), IN_TIME)
        refused(lambda: backend.request_cancel(["job"]), IN_TIME)
        assert backend.read(["job"])["job"].version.seq == 1, "readers need not wait"
        assert backend.cancel_requested(["job"]) == set()
    backend.write([update("job", 3)])
    assert backend.read(["job"])["job"].version.seq == 3


def test_the_url_may_say_how_long_a_locked_database_is_waited_for(path: Path) -> None:
    with closing(SQLBackend(f"sqlite:///{path}?timeout=0.25")) as backend, backend._connections.checkout() as checkout:
        assert checkout.connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 250


@pytest.mark.timing
def test_a_database_that_is_locked_from_the_start_is_opened_later(path: Path, backend: SQLBackend) -> None:
    with locked(path, "PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE other (x); BEGIN EXCLUSIVE"):
        for call in (lambda: backend.write([start("job")]), lambda: backend.read(["job"])):
            refused(call, IN_TIME)
    assert backend.write([start("job")]) == {"job": 1}


def test_a_full_disk_is_reported_and_what_was_stored_stays(path: Path) -> None:
    pages, connections = [1_000_000], list[sqlite3.Connection]()

    def limit(connection: sqlite3.Connection, record: object) -> None:
        connections.append(connection)
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", limit)
    backend = SQLBackend(engine)
    backend.write([start("job", description="x" * 400)])
    pages[0] = 20
    connections[0].execute("PRAGMA max_page_count = 20")
    batch = [start(f"job-{number}", meta={"x": "y" * 2_000}) for number in range(100)]
    for _ in range(3):
        refused(lambda: backend.write(batch))
    assert backend.read(["job", "job-0"]).keys() == {"job"}
    pages[0] = 1_000_000
    refused(lambda: backend.write(batch))  # the last connection under the old limit goes with this
    assert len(backend.write(batch)) == 100
    engine.dispose()


def test_no_space_for_a_file_of_our_own_is_reported_and_passes(path: Path, backend: SQLBackend) -> None:
    resource = pytest.importorskip("resource")
    backend.write([start("job")])
    batch = [start(f"job-{number}", meta={"x": "y" * 2_000}) for number in range(500)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        refused(lambda: backend.write(batch))
        refused(lambda: backend.write(batch))
        assert backend.read(["job", "job-0"]).keys() == {"job"}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(backend.write(batch)) == 500


def test_a_file_that_was_removed_is_reported_once_and_then_made_again(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job"), start("other")])
    remove(path)
    refused(lambda: backend.write([update("job", 2)]))
    assert not path.exists()
    backend.write([update("job", 2, run=4)])
    assert str(backend.read(["job", "other"])["job"].version) == "4.1.2"
    assert rows(path) == [("job",)]


def test_a_file_that_was_removed_and_comes_back_is_used_again(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    backend.close()
    backend.read(["job"])
    aside = path.with_name("aside.db")
    path.rename(aside)
    refused(lambda: backend.read(["job"]))
    remove(path)
    aside.rename(path)
    assert backend.read(["job"])["job"].version.seq == 1
    backend.write([update("job", 2)])
    assert backend.read(["job"])["job"].version.seq == 2


def test_a_file_that_was_replaced_is_used_and_every_writer_is_notified_once(path: Path, backend: SQLBackend) -> None:
    with closing(SQLBackend(f"sqlite:///{path}.new")) as other:
        other.write([start("another")])
    backend.write([start("job")])
    remove(path)
    Path(f"{path}.new").rename(path)
    refused(lambda: backend.read(["job"]))
    assert backend.read(["job", "another"]).keys() == {"another"}
    refused(lambda: backend.write([update("job", 2)]))
    backend.write([update("job", 2)])
    assert backend.read(["job", "another"]).keys() == {"job", "another"}


def test_a_folder_that_vanished_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with closing(SQLBackend(f"sqlite:///{folder}/progress.db")) as backend:
        backend.write([start("job")])
        folder.rename(tmp_path / "aside")
        for _ in range(3):
            refused(lambda: backend.write([update("job", 2)]))
        (tmp_path / "aside").rename(folder)
        backend.write([update("job", 2)])
        assert backend.read(["job"])["job"].version.seq == 2


def test_what_is_no_database_is_an_error_and_passes_when_it_is_one_again(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    backend.close()
    right = path.read_bytes()
    path.write_bytes(b"something else entirely" * 1_000)
    with pytest.raises(BackendError) as raised:
        backend.read(["job"])
    assert not isinstance(raised.value, BackendUnavailable)
    path.write_bytes(right)
    assert backend.read(["job"]).keys() == {"job"}


def test_a_database_that_only_allows_reading_is_read(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    with closing(SQLBackend(f"sqlite:///file:{path}?mode=ro&uri=true")) as viewer:
        assert viewer.read(["job"]).keys() == {"job"}
        refused(lambda: viewer.write([update("job", 2)]))
        assert viewer.read(["job"]).keys() == {"job"}


def test_no_connection_is_lost_to_an_error(path: Path, backend: SQLBackend) -> None:
    backend.write([start("job")])
    descriptors = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    with ExitStack() as stack:
        stack.callback(lambda: path.with_name("aside").rename(path))
        path.rename(path.with_name("aside"))
        path.mkdir()
        for _ in range(20):
            refused(lambda: backend.read(["job"]))
        path.rmdir()
    assert backend.read(["job"]).keys() == {"job"}
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) <= descriptors


def rows(path: Path) -> list[tuple[object, ...]]:
    """Ask the file itself."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT id FROM progresskit_jobs").fetchall()
