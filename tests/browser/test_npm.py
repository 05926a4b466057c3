"""The package for npm, which has the module as it is served."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import progresskit
from tests.browser.gallery.stub import COMPONENT
from tests.browser.packages import MODULES

FOLDER = Path(__file__).parents[2] / "npm"


def test_the_package_holds_the_very_module_and_its_types(program: Callable[..., str], tmp_path: Path) -> None:
    command = [
        program("npm"),
        "pack",
        "--silent",
        "--pack-destination",
        str(tmp_path),
        "--cache",
        str(tmp_path / "cache"),
    ]
    subprocess.run(command, cwd=FOLDER, check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tgz")
    with tarfile.open(packed) as archive:
        held = {member.name.removeprefix("package/"): archive.extractfile(member) for member in archive}
        types = {"index.d.ts", "group.d.ts", "react.d.ts", "vue.d.ts"}
        assert set(held) == {"package.json", "README.md", *types, *(path.name for path in MODULES)}
        for path in MODULES:
            module = held[path.name]
            assert module is not None
            assert module.read() == path.read_bytes()
    assert not [path for path in MODULES if (FOLDER / path.name).exists()]


def test_the_package_has_the_version_and_the_texts_of_the_source() -> None:
    assert json.loads((FOLDER / "package.json").read_text())["version"] == progresskit.__version__

    (source,) = re.findall(r"export const strings = \{\n(.*?)\n\};", COMPONENT.read_text(), re.DOTALL)
    (typed,) = re.findall(r"export interface Strings \{\n(.*?)\n\}", (FOLDER / "index.d.ts").read_text(), re.DOTALL)
    names = r"^ *(\w+):"
    assert re.findall(names, typed, re.MULTILINE) == re.findall(names, source, re.MULTILINE)
