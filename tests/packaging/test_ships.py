from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[[str], Any]

# Each costs milliseconds that a worker pays at its start, for what it may never use.
HEAVY = {
    "asyncio",
    "concurrent.futures",
    "email",
    "http",
    "importlib.metadata",
    "inspect",
    "multiprocessing",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "unittest",
    "urllib.request",
    "uuid",
}


def test_the_wheel_is_the_source_and_nothing_else(tracked: list[str], shipped: dict[str, bytes]) -> None:
    sources = {
        name.removeprefix("adapters/") for name in tracked if name.startswith(("progresskit/", "adapters/progresskit_"))
    }
    assert {name for name in shipped if ".dist-info/" not in name} == sources


def test_every_package_ships_its_types_and_the_licence_is_there(shipped: dict[str, bytes]) -> None:
    packages = {name.split("/")[0] for name in shipped if ".dist-info/" not in name}
    assert {f"{package}/py.typed" for package in packages} <= shipped.keys()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped)


def test_the_sdist_holds_what_a_distribution_would_test_and_read(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "tests/conftest.py"} <= names


def test_the_wheels_packages_are_the_core_and_the_folders_of_adapters(
    pyproject: dict[str, Any], tracked: list[str]
) -> None:
    adapters = {"/".join(name.split("/")[:2]) for name in tracked if name.startswith("adapters/")}
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == sorted({"progresskit", *adapters})


@pytest.fixture
def loaded(ask: Ask) -> set[str]:
    """Name the modules that `import progresskit` adds to those of the bare interpreter."""
    return set(
        ask(
            "import sys; before = set(sys.modules); import progresskit; added = set(sys.modules) - before;"
            "import json; print(json.dumps(sorted(added)))"
        )
    )


def test_the_bare_wheel_is_what_is_imported(ask: Ask, bare: Path) -> None:
    location = ask("import json, progresskit; print(json.dumps(progresskit.__file__))")
    assert Path(location).is_relative_to(bare)


def test_importing_progresskit_loads_the_standard_library_only(loaded: set[str]) -> None:
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names == {"progresskit"}


def test_importing_progresskit_loads_nothing_heavy(loaded: set[str]) -> None:
    assert loaded & HEAVY == set()


def test_every_module_of_the_core_can_be_imported_without_an_extra_or_names_it(ask: Ask) -> None:
    failed = ask(
        "import importlib, json, pkgutil, progresskit\n"
        "failed = {}\n"
        "for module in pkgutil.walk_packages(progresskit.__path__, 'progresskit.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        try:\n"
        "            importlib.import_module(module.name)\n"
        "        except BaseException as error:\n"
        "            failed[module.name] = repr(error)\n"
        "print(json.dumps(failed))"
    )
    named = {
        "progresskit.cli.connections": "progresskit[cli]",
        "progresskit.terminal.bars": "progresskit[cli]",
        "progresskit.terminal.overlay": "progresskit[cli]",
        "progresskit.testing.queues": "progresskit[testing]",
        "progresskit.testing.shims": "progresskit[testing]",
        "progresskit.tqdm": "progresskit[tqdm]",
    }
    assert failed.keys() == named.keys()
    assert [
        name for name, extra in named.items() if not re.match(rf"MissingPackage.*{re.escape(extra)}", failed[name])
    ] == []


def test_an_adapter_without_its_packages_names_the_extra_that_brings_them(
    ask: Ask, shipped: dict[str, bytes], pyproject: dict[str, Any]
) -> None:
    adapters = sorted({name.split("/")[0] for name in shipped if name.startswith("progresskit_")})
    messages = ask(
        "import importlib, json\n"
        "messages = {}\n"
        f"for name in {adapters}:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        messages[name] = str(error)\n"
        "print(json.dumps(messages))"
    )
    # These need nothing before they are used, and say it then.
    assert set(adapters) - messages.keys() == {"progresskit_asgi", "progresskit_redis"}
    extras = pyproject["project"]["optional-dependencies"]
    for name, message in messages.items():
        extra = name.removeprefix("progresskit_").replace("_", "-")
        assert extra in extras
        assert re.fullmatch(rf'{name} needs the package \w+, .*: pip install "progresskit\[{extra}\]"', message)


def test_the_version_is_the_wheels_own(ask: Ask, shipped: dict[str, bytes]) -> None:
    (metadata,) = (content for name, content in shipped.items() if name.endswith(".dist-info/METADATA"))
    version = ask("import json, progresskit; print(json.dumps(progresskit.__version__))")
    assert version == message_from_bytes(metadata)["Version"]


def test_the_command_answers_without_an_extra(bare: Path, tmp_path: Path) -> None:
    answer = subprocess.run(
        [bare / "bin/progresskit", "--help"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "demo" in answer.stdout


def test_every_backend_in_the_table_is_in_the_wheel(
    ask: Ask, shipped: dict[str, bytes], pyproject: dict[str, Any]
) -> None:
    backends = ask("import json, progresskit.registry; print(json.dumps(progresskit.registry.BACKENDS))")
    assert "memory" in backends
    for scheme, (target, extra) in backends.items():
        module, attribute = target.split(":")
        path = module.replace(".", "/")
        assert {f"{path}.py", f"{path}/__init__.py"} & shipped.keys(), scheme
        assert isinstance(getattr(importlib.import_module(module), attribute), type), scheme
        assert extra is None or extra in pyproject["project"]["optional-dependencies"], scheme
