"""How the contract's tests are made of a row of the table of backends; each module `test_backend_….py` holds some."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from progresskit.abc import Backend
from progresskit.testing import FakeClock, start, update
from tests.services.patience import be_patient

from .backends import BACKENDS, Row

RECORDS = Path(__file__).parents[1] / "records"

IMPORTS = """\
import sys
import threading
from contextlib import suppress

from progresskit import BackendUnavailable, Kit


class Finder:
    def find_spec(self, name, path, target=None):
        if threading.current_thread() is not threading.main_thread():
            sought.append(name)


kit, sought = Kit(sys.argv[1]), []
sys.meta_path.insert(0, Finder())
with kit.observe("job", cancellable=True) as job:
    kit.flush(30)
    watch = threading.Thread(target=lambda: [*kit.watch("job")])
    watch.start()
    while not job.cancel_requested:
        with suppress(BackendUnavailable):  # a busy server may connect later than a call waits
            kit.cancel("job")
        kit.flush(30)
watch.join()
kit.close()
print(*(name for name in sought if name in sys.modules))
"""
"""Prints which modules were imported in a thread of the kit's, once its backend was made."""


class Harness:
    """The fixtures that the parts of the contract use, for one row of the table."""

    row: Row
    store: str
    """The address of the test's store."""

    @pytest.fixture(autouse=True)
    def counted(self, record_property: Callable[[str, object], None]) -> None:
        record_property("contract", self.row.name)

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def url(
        self,
        tmp_path: Path,
        missing_service: Callable[..., NoReturn],
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
    ) -> str:
        if self.row.missing:
            missing_service(self.row.service, self.row.missing)
        if "outage" not in request.fixturenames:
            be_patient(self.row.patience, monkeypatch)
        self.store = self.row.url(tmp_path)
        return self.store

    def plant(self, backend: Backend, id: str, body: str, *, wait: Callable[[], object] = lambda: None) -> None:
        if self.row.plant is None:
            super().plant(backend, id, body)  # type: ignore[misc]
        else:
            backend.write([start(id)])
            backend.write([update(id, 2)])
            wait()
            self.row.plant(self.store, backend, id, body)

    def test_what_each_release_has_stored_is_read(self, backend: Backend) -> None:
        bodies = {
            f"{path.parent.name}-{path.stem}": json.loads(path.read_text("utf-8"))["stored"]["body"]
            for path in RECORDS.glob("*/*.json")
        }
        assert bodies
        assert backend.read(bodies) == {}
        for id, body in bodies.items():
            self.plant(backend, id, body)
        assert {id: progress.current for id, progress in backend.read(bodies).items()} == {
            id: json.loads(body)["current"] for id, body in bodies.items()
        }

    @pytest.fixture
    def backend(self, url: str, clock: FakeClock) -> Iterator[Backend]:
        backend = self.row.make(url, clock)
        yield backend
        backend.close()

    def test_no_thread_that_connects_imports_anything_for_a_fork_to_leave_half_done(self, url: str) -> None:
        result = subprocess.run(
            [sys.executable, "-c", IMPORTS, url],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == []

    @pytest.fixture
    def outage(self, url: str) -> Callable[[], AbstractContextManager[Any]]:
        assert self.row.outage is not None
        begin = self.row.outage
        return lambda: begin(url)

    @pytest.fixture
    def replace_server(self, url: str) -> Callable[[], None]:
        assert self.row.replaced is not None
        replaced = self.row.replaced
        return lambda: replaced(url)


def contract_of(name: str, module: str) -> type:
    """Return the class of the contract's tests for the row of that name, as a member of the module."""
    row = next(row for row in BACKENDS if row.name == name)
    members: dict[str, Any] = {"row": row, "examples": row.examples, "__module__": module}
    for test, reason in row.left_out.items():
        assert any(hasattr(part, test) for part in row.suite), f"{name} leaves out {test}, which there is not"
        members[test] = _left_out(reason)
    return type(f"Test{name.title()}", (Harness, *row.suite), members)


def _left_out(reason: str) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        pytest.skip(f"left out: {reason}")

    return test
