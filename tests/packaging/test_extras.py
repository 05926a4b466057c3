"""
Every import of another project stands behind an extra that brings it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ADAPTERS = sorted(path.parent for path in (ROOT / "adapters").glob("*/__init__.py"))


@pytest.fixture(scope="module")
def distributions() -> Mapping[str, list[str]]:
    """Map each package that can be imported here to the projects that brought it."""
    return packages_distributions()


def canonical(requirement: str) -> str:
    """Reduce a requirement such as `SQLAlchemy[asyncio]>=2; marker` to the name by which projects are compared."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def third_party_imports(folder: Path) -> set[str]:
    imported: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module)
    roots = {name.split(".")[0] for name in imported}
    return {name for name in roots if name not in sys.stdlib_module_names and not name.startswith("progresskit")}


def brought(requirements: list[str], extras: dict[str, list[str]]) -> set[str]:
    """Name every project that pip would install for these, those of our own extras among them."""
    seen: set[str] = set()

    def visit(requirement: str) -> None:
        if own := re.fullmatch(r"progresskit\[([\w,-]+)\]", requirement):
            for extra in own[1].split(","):
                for inner in extras[extra]:
                    visit(inner)
        elif (name := canonical(requirement)) not in seen:
            seen.add(name)
            for inner in dependencies(name):
                visit(inner)

    for requirement in requirements:
        visit(requirement)
    return seen


def dependencies(name: str) -> Iterator[str]:
    try:
        listed = requires(name) or []
    except PackageNotFoundError:  # of another platform or Python version
        return
    yield from (requirement for requirement in listed if "extra ==" not in requirement)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_the_extra_of_an_adapter_brings_all_that_it_imports(
    adapter: Path, pyproject: dict[str, Any], distributions: Mapping[str, list[str]]
) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    has = brought(extras[adapter.name.removeprefix("progresskit_").replace("_", "-")], extras)
    for name in third_party_imports(adapter):
        assert has & {canonical(project) for project in distributions[name]}, name


def test_what_the_core_imports_on_demand_comes_with_an_extra(
    pyproject: dict[str, Any], distributions: Mapping[str, list[str]]
) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    # Who imports progresskit.testing has a suite, and so pytest and Hypothesis: `test` is that of the kit itself.
    has = brought(["progresskit[all,test]"], extras)
    for name in third_party_imports(ROOT / "progresskit"):
        assert has & {canonical(project) for project in distributions[name]}, name


def test_extras_are_spelled_as_pip_compares_them(pyproject: dict[str, Any]) -> None:
    """pip before 23.3 finds no extra whose name in the request is not the one in the metadata, letter for letter."""
    for extra in pyproject["project"]["optional-dependencies"]:
        assert extra == canonical(extra)


def test_the_core_needs_nothing_and_all_is_every_extra_of_a_user(pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    assert pyproject["project"]["dependencies"] == []
    everything = brought(extras["all"], extras)
    for extra in extras.keys() - {"all", "dev", "docs", "test", "testing", "arq"}:
        assert brought(extras[extra], extras) <= everything, extra


def test_all_leaves_out_arq_for_as_long_as_that_does_not_allow_the_newest_redis_py() -> None:
    assert [requirement for requirement in requires("arq") or [] if re.match(r"redis\b.*<6", requirement)]


def test_the_page_of_extras_names_each_and_says_which_cannot_be_had_together(pyproject: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "reference" / "extras.md").read_text("utf-8")
    table, apart = page.split("## Extras that cannot share an environment")
    named = {name for row in table.splitlines() for name in re.findall(r"`([a-z-]+)`", row.partition(" | ")[0])}
    assert named == pyproject["project"]["optional-dependencies"].keys() - {"dev", "docs", "test"}
    assert "`arq` and `celery[redis]`" in apart
