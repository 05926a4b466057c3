"""The tests that tqdm publishes with its source, run with the classes of progresskit.tqdm in the place of tqdm's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

GROUPS = [
    # One of them is to take 0.3 seconds, and at most a tenth more.
    pytest.param(("asyncio", "concurrent", "synchronisation"), id="concurrency", marks=pytest.mark.timing),
    pytest.param(("contrib", "itertools", "notebook", "pandas", "rlock", "tqdm", "utils"), id="all others"),
]
"""The files that one process runs: what forks must do so without the threads of pandas."""

SUBSTITUTE = """
import pytest, tqdm, tqdm.asyncio

import progresskit
import progresskit.tqdm as ours

tqdm.tqdm, tqdm.trange = ours.tqdm, ours.trange
tqdm.asyncio.tqdm = tqdm.asyncio.tqdm_asyncio = ours.tqdm_asyncio


@pytest.fixture(autouse=True)
def job():
    with progresskit.observe() as job:
        yield job
"""

EXCEPTIONS = {"test_external_write": "deletes the lock of the class, and a subclass has none of its own"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of tqdm's source, without its package: the installed one is tested."""
    folder = tmp_path_factory.mktemp("tqdm")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", folder, f"tqdm=={version('tqdm')}"], check=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, [each for each in packed if "/tests/" in each.name], filter="data")
    (folder / "substitute.py").write_text(SUBSTITUTE)
    [tests] = folder.glob("*/tests")
    return tests


@pytest.mark.parametrize("names", GROUPS)
def test_the_tests_of_tqdm_pass(source: Path, names: tuple[str, ...]) -> None:
    plugins = ("pytest_asyncio.plugin", "substitute", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-v", *(f"-p{plugin}" for plugin in plugins), "-c", os.devnull]
    for test in EXCEPTIONS:
        command += ["--deselect", f"tests/tests_tqdm.py::{test}"]
    command += ["--rootdir", str(source.parent), *(str(source / f"tests_{name}.py") for name in names)]
    environment = os.environ | {"PYTHONPATH": str(source.parent.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(command, env=environment, cwd=source.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    for name in names:
        assert re.search(rf"tests_{name}\.py::\S+ PASSED", run.stdout), name
