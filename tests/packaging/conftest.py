"""
What a user gets: the sdist and the wheel built from a clean copy, and the wheel alone in a virtual environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """List the files of the checkout that git knows or would: no cache, no virtual environment, nothing deleted."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return sorted(name for name in set(listed) if name and (ROOT / name).is_file())


@pytest.fixture(scope="session")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from a clean copy, and the wheel from that sdist, as a release is."""
    copy, built = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("built")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return built


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def shipped(wheel: Path) -> dict[str, bytes]:
    """Map the path of each file in the wheel to its content."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, with no extra and no index to take a dependency from, and give the environment's folder."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", str(folder / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-index", str(wheel)], check=True, capture_output=True)
    return folder


@pytest.fixture
def ask(bare: Path, tmp_path: Path) -> Callable[[str], Any]:
    """Give a function that runs code in the bare environment, far from the checkout, and returns the JSON it prints."""

    def ask(code: str) -> Any:
        command = [str(bare / "bin/python"), "-I", "-W", "error", "-c", code]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    return ask
