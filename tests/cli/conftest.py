"""The demo, a job in another process, and a browser, for the tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import browser, new_page, page
from tests.cli.processes import Demo, demo, environment

__all__ = ["browser", "new_page", "page"]

WRITER = """
import sys, time, progresskit
url, id, seconds, way = sys.argv[1:]
progresskit.configure(url, flush_seconds=60)
with progresskit.observe(id, total=40, unit="rows", description="Importing", kind="import", cancellable=True) as job:
    for row in range(40):
        time.sleep(float(seconds) / 40)
        job.advance()
    if way == "fail":
        raise progresskit.PublicError("row 41 is missing")
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


def make_library(folder: Path, *packages: str) -> Path:
    """Have any Python with the folder on its path take these parts of the standard library for the whole."""
    whole, part = Path(sysconfig.get_path("stdlib")), folder / "library"
    for name in packages:
        shutil.copytree(whole / name, part / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "sitecustomize.py").write_text(f"import sysconfig\nsysconfig.get_path = lambda *_: {str(part)!r}\n")
    return part


@pytest.fixture(scope="session")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a library whose jobs last some seconds."""
    folder = tmp_path_factory.mktemp("small")
    part = make_library(folder, "asyncio", "email", "encodings", "http", "json", "multiprocessing", "unittest", "xml")
    for path in Path(sysconfig.get_path("stdlib")).glob("*.py"):
        shutil.copy(path, part)
    # The job that fails does so in the middle of the files: as many empty ones behind the others put that at their end,
    # so that it lasts for some intervals, while the job that counts all of them lasts no longer.
    (part / "zzz").mkdir()
    for number in range(len([*part.rglob("*.py")])):
        (part / "zzz" / f"empty{number}.py").touch()
    return folder


@pytest.fixture(scope="session")
def tiny_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a library whose jobs last an instant."""
    folder = tmp_path_factory.mktemp("tiny")
    make_library(folder, "asyncio", "json")
    return folder


@pytest.fixture(scope="module")
def running_demo(tmp_path_factory: pytest.TempPathFactory, small_library: Path) -> Iterator[Demo]:
    """Give a demo that the tests of a module share; what takes it half a minute elsewhere takes a few seconds in it."""
    path = f"{small_library}{os.pathsep}{environment()['PYTHONPATH']}"
    with demo(tmp_path_factory.mktemp("demo"), PYTHONPATH=path) as running:
        yield running


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the address of a backend that is empty."""
    return f"sqlite:///{tmp_path / 'progress.db'}"


Write = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def write(url: str) -> Iterator[Write]:
    """Give a function that starts a process with a job of 40 rows in it, which ends well, or does not."""
    started: list[subprocess.Popen[bytes]] = []

    def start(id: str, seconds: float = 1.0, way: str = "succeed") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WRITER, url, id, str(seconds), way]
        started.append(subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
