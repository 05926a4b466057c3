"""What the documentation says: it is run, it links to what is there, and its tables are those of the code."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import progresskit
from progresskit import cli, integrations, testing, web
from progresskit.config import Settings
from progresskit.registry import BACKENDS

from .pages import (
    DOCS,
    EXAMPLES,
    PAGES,
    README,
    ROOT,
    Block,
    anchors,
    blocks,
    links,
    name_of,
    readme_files,
    table,
    text_of,
)

REFERENCE = DOCS / "reference"
PACKAGE = Path(progresskit.__file__).parent

GIVEN = {
    'track(rows, id="import-42")': "rows, handle = [1, 2, 3], str",
    'progresskit.get("import-42")': "for _ in progresskit.track([1, 2], id='import-42'): pass",
}
"""What is run before a block of README.md that is no file, by something that only this block has: it has no notes."""

PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
SHOWN = [block for page in PAGES for block in blocks(page) if block.said("file")]


def given_of(block: Block) -> str | None:
    """Return what is run before a block of README.md; None for one that is a file."""
    if any(readme_files(block)):
        return None
    (key,) = [key for key in GIVEN if key in block.code]
    return GIVEN[key]


def to_run(block: Block) -> list[tuple[int, str]]:
    """Return the code to be run for a block, by lines of the page; none for a block that stands in a file."""
    if block.page == README:
        given = given_of(block)
        return [] if given is None else [(1, given), (block.line, block.code)]
    if block.said("file") or block.said("not run"):
        return []
    return [(block.line - 1, block.said("given") or ""), (block.line, block.code)]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Run all blocks of all pages; what went wrong, by page."""
    folder = tmp_path_factory.mktemp("pages")
    given: dict[str, list[tuple[int, str]]] = {}
    for block in PYTHON:
        given.setdefault(name_of(block.page), []).extend(to_run(block))
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_pages.py"))],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert not process.returncode, process.stderr
    defined: dict[str, str | None] = json.loads(process.stdout)
    return defined


# Code.


@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in PYTHON), ids=name_of)
def test_the_python_of_each_page_runs(page: Path, outcomes: dict[str, str | None]) -> None:
    assert outcomes[name_of(page)] is None


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_every_block_of_python_compiles(block: Block) -> None:
    compile(block.code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_what_a_page_shows_of_a_file_is_the_file(block: Block) -> None:
    assert block.code == (DOCS / (block.said("file") or "")).read_text()


def test_the_readme_begins_with_the_quickstart() -> None:
    ((name, _, code),) = readme_files(PYTHON[0])
    assert (name, code) == ("app.py", (EXAMPLES / "quickstart.py").read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if 'broker="redis://' in text_of(page)], ids=name_of)
def test_a_page_with_a_broker_that_is_redis_installs_its_client(page: Path) -> None:
    assert re.search(r'pip install .*"celery\[redis\]"', text_of(page))


def test_every_example_is_shown_on_a_page() -> None:
    shown = {DOCS / (block.said("file") or "") for block in SHOWN}
    assert shown == {path for path in EXAMPLES.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts}


# Links.


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def test_the_links_of_the_readme_work_outside_of_the_repository() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(README))
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_the_site_has_every_page() -> None:
    listed = set(re.findall(r"^ +- (\S+\.md)$", text_of(ROOT / "mkdocs.yml"), re.MULTILINE))
    assert listed == {page.relative_to(DOCS).as_posix() for page in PAGES if page != README}


def test_the_index_names_every_page() -> None:
    listed = {(DOCS / link).resolve() for link in links(DOCS / "README.md")}
    assert listed == {page for page in PAGES if page not in (README, DOCS / "README.md")}


def test_every_test_that_a_page_names_exists() -> None:
    there = set()
    for folder in (ROOT / "tests", PACKAGE):
        for path in folder.rglob("*.py"):
            there.update(re.findall(r"def (test_\w+)\(", path.read_text()))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", text_of(page))}
    assert named
    assert not named - there


# Tables.


def test_the_settings_are_those_of_the_code() -> None:
    documented = {name: row[0].strip("`") for name, row in table(REFERENCE / "settings.md").items() if row[0] != "---"}
    documented.pop("setting")
    assert documented == {name: str(default) for name, default in Settings._field_defaults.items()}
    assert list(documented) == list(Settings._fields)


def test_the_fields_of_the_record_are_those_of_the_code() -> None:
    rows = table(REFERENCE / "record.md")
    fields = [*testing.record("job").to_dict()]
    assert [*rows] == ["field", *fields]
    (shown,) = [block for block in blocks(REFERENCE / "record.md") if block.language == "json"]
    assert [*json.loads(shown.code)] == fields


def test_every_public_name_is_in_the_reference() -> None:
    text = text_of(REFERENCE / "python.md")
    names = {*progresskit.__all__, *web.__all__, *testing.__all__, *integrations.__all__} - {"TOKEN_SECONDS"}
    assert [
        name for name in sorted(names) if not re.search(rf"(`|─ |^|^::: [\w.]+\.){name}\b", text, re.MULTILINE)
    ] == []


def test_every_public_name_of_the_adapters_is_in_the_reference() -> None:
    text, missing = text_of(REFERENCE / "python.md"), list[str]()
    for folder in (ROOT / "adapters").glob("*/__init__.py"):
        module = folder.parent.name
        names = {f"{module}.{name}" for name in getattr(import_module(module), "__all__", ())} or {module}
        missing += [name for name in sorted(names) if not re.search(rf"(`|::: ){re.escape(name)}\b", text)]
    assert missing == []


DIRECTIVE = re.compile(r"^::: (progresskit[\w.]*)$(?:\n    options:\n      members: \[(.*)\])?", re.MULTILINE)


def test_the_reference_shows_the_docstring_of_each_name_that_it_has() -> None:
    shown = DIRECTIVE.findall(text_of(REFERENCE / "python.md"))
    assert len(shown) == text_of(REFERENCE / "python.md").count("\n::: ")
    things = {name: found(name) for name, _ in shown}
    things |= {
        f"{name}.{member}": inspect.getattr_static(things[name], member)
        for name, members in shown
        for member in filter(None, members.split(", "))
    }
    assert [name for name, thing in things.items() if not inspect.getdoc(thing)] == []


def found(name: str) -> Any:
    """Return what a dotted name stands for."""
    module, names = name, list[str]()
    while True:
        try:
            thing: Any = import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            names.insert(0, last)
        else:
            for each in names:
                thing = getattr(thing, each)
            return thing


def test_every_command_is_in_the_reference_and_on_the_index(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = set(re.findall(r"^ {4}(\w+) ", capsys.readouterr().out, re.MULTILINE))
    rows = "".join(cell for cell in table(REFERENCE / "command-line.md") if cell.startswith("["))
    (line,) = [line for line in text_of(DOCS / "README.md").splitlines() if "command-line.md" in line]
    assert commands == set(re.findall(r"`(\w+)", rows)) == set(re.findall(r"`(?:progresskit )?(\w+)`", line))


def test_every_extra_is_named_where_the_readme_explains_how_to_install() -> None:
    extras = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["optional-dependencies"].keys() - {
        "dev",
        "docs",
        "test",
    }
    install = text_of(README).split("\n## Install\n")[1].partition("\n## ")[0]
    assert extras <= set(re.findall(r"`([\w-]+)`", install))


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    drawn = [line.strip() for line in (progresskit.errors.__doc__ or "").splitlines()]
    (shown,) = [b for b in blocks(REFERENCE / "python.md") if b.code.startswith("ProgressKitError")]
    assert [line for line in shown.code.splitlines() if line and line.strip() not in drawn] == []


def test_the_reference_of_the_browser_component_is_that_of_its_source() -> None:
    source = (PACKAGE / "web" / "progresskit.js").read_text()
    page = REFERENCE / "browser.md"

    (defined,) = re.findall(r"export const strings = \{\n(.*?)\n\};", source, re.DOTALL)
    texts = dict(re.findall(r'^ *(\w+): "(.*)",$', defined, re.MULTILINE))
    assert {name: row[0] for name, row in table(page, "Texts").items() if name in texts or row[0] in texts} == texts

    properties = set(re.findall(r"var\((--progress-bar-[\w-]+)", source))
    assert {name for name in table(page, "Custom properties") if name.startswith("--")} == properties

    made = {"icon", *re.findall(r'= part\("(\w+)"', source), "status", "failure", "piece"}
    parts = re.findall(r"`(\w+)`", "".join(line for line in text_of(page).splitlines(True) if line.startswith("| `")))
    assert made <= set(parts)

    (looks,) = re.findall(r"const LOOKS = \{\n(.*?)\n\};", source, re.DOTALL)
    states = set(re.findall(r"^ *(\w+): \[", looks, re.MULTILINE))
    assert states == set(re.findall(r"`(\w+)`", table(page, "Attributes")["data-state"][0]))


def test_the_reference_of_groups_is_that_of_their_source() -> None:
    source = (PACKAGE / "web" / "progress-group.js").read_text()
    rows = table(REFERENCE / "browser.md", "Groups")

    (defined,) = re.findall(r"const words = \{\n(.*?)\n\};", source, re.DOTALL)
    texts = dict(re.findall(r'^ *(\w+): "(.*)",$', defined, re.MULTILINE))
    assert {name: row[0] for name, row in rows.items() if name in texts} == texts

    made = {"count", *re.findall(r'= element\("\w+", "(\w+)"', source)}
    assert made <= {name.strip("`") for cell in rows for name in cell.split(", ")}

    counted = re.findall(r'\{ name: "(\w+)", states', source)
    assert re.findall(r"`(\w+)`", rows["meta"][0]) == counted


def test_the_table_of_backends_names_each_and_no_other() -> None:
    urls = [name for name in table(REFERENCE / "backends.md") if "://" in name]
    assert {url.split("://")[0].split("+")[0] for url in urls} == set(BACKENDS)


def test_the_addresses_are_those_of_the_description() -> None:
    described = json.loads((PACKAGE / "web" / "openapi.json").read_text())["paths"]
    listed = {
        re.sub(r"\?.*", "", path).replace("KEY", "{key}")
        for row in table(REFERENCE / "http.md")
        for path in re.findall(r"^\[`(?:GET|POST) ([^`]*)`", row)
    }
    assert listed == {path.lstrip("/") for path in described}
