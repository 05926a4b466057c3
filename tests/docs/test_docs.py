"""What the documentation says: it is run, it links to what is there, and its tables are those of the code."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import progresskit
from progresskit import Kit, ProgressObserver, testing, web
from progresskit.config import BACKENDS, Settings

from .pages import DOCS, EXAMPLES, PAGES, README, ROOT, Block, anchors, blocks, links, name_of, table, text_of

REFERENCE = DOCS / "reference"
PACKAGE = Path(progresskit.__file__).parent


class Readme(NamedTuple):
    """How a block of README.md is run, which has no notes in it: what is given, and what stands for what."""

    given: str = ""
    instead: tuple[str, str] = ("", "")


# Each block is known by something that only it has.
FOLDER = "sqlite:////var/lib/proj", "sqlite:///{folder}"
README_BLOCKS = {
    "# app.py; then:": Readme(),  # it is docs/examples/quickstart.py, see below
    'track(rows, id="import-42")': Readme("rows, handle = [1, 2, 3], str"),
    "def index(paths)": Readme("read = str", FOLDER),
    "def count(self, seconds)": Readme("from time import sleep"),
    "INSTALLED_APPS": Readme("from django.urls import include, path"),
    'app.config["PROGRESSKIT_URL"]': Readme("from flask import Flask\napp = Flask('app')", FOLDER),
    'progresskit.get("import-42")': Readme("for _ in progresskit.track([1, 2], id='import-42'): pass"),
}

PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
SHOWN = [block for page in PAGES for block in blocks(page) if block.said("file")]


def readme_key(block: Block) -> str:
    (key,) = [key for key in README_BLOCKS if key in block.code] or [""]
    return key


def to_run(block: Block, folder: Path) -> list[tuple[int, str]]:
    """Return the code to be run for a block, by lines of the page; none for a block that stands in a file."""
    if block.page == README:
        how = README_BLOCKS.get(readme_key(block), Readme())
        if block.code.startswith("# app.py"):
            return []
        code = block.code.replace(*how.instead).replace("{folder}", str(folder))
        return [(1, how.given), (block.line, code)]
    if block.said("file") or block.said("not run"):
        return []
    return [(block.line - 1, block.said("given") or ""), (block.line, block.code)]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Run all blocks of all pages; what went wrong, by page."""
    folder = tmp_path_factory.mktemp("pages")
    given: dict[str, list[tuple[int, str]]] = {}
    for block in PYTHON:
        given.setdefault(name_of(block.page), []).extend(to_run(block, folder))
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("run_pages.py"))],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert not process.returncode, process.stderr
    told: dict[str, str | None] = json.loads(process.stdout)
    return told


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


def test_the_readme_begins_with_the_quickstart_and_each_of_its_blocks_is_known() -> None:
    readme = [block for block in PYTHON if block.page == README]
    assert sorted(map(readme_key, readme)) == sorted(README_BLOCKS)
    comment, _, code = readme[0].code.partition("\n")
    assert comment.startswith("# ")
    assert code == (EXAMPLES / "quickstart.py").read_text()


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
    names = {*progresskit.__all__, *web.__all__, *testing.__all__} - {"TOKEN_SECONDS"}
    assert [name for name in sorted(names) if not re.search(rf"(`|─ |^){name}\b", text, re.MULTILINE)] == []


def signatures(section: str) -> dict[str, str]:
    """Return the calls in the first cells of the tables of a section, by name."""
    cells = table(REFERENCE / "python.md", section)
    return {cell.partition("(")[0]: cell for cell in cells if cell.endswith(")") and "`" not in cell}


@pytest.mark.parametrize(
    ("section", "owner"),
    [
        ("Set-up", Kit),
        ("For workers", Kit),
        ("For viewers", Kit),
        ("ProgressObserver", ProgressObserver),
        ("progresskit.web", web),
    ],
)
def test_signatures_in_the_reference_are_those_of_the_code(section: str, owner: Any) -> None:
    documented = signatures(section)
    assert documented
    for name, call in documented.items():
        real = inspect.signature(inspect.getattr_static(owner, name) if name != "Surface" else web.Surface.__init__)
        given = parameters(f"def {call}: ...")
        if name == "track":  # the rest of its arguments are those of observe
            assert given == {"items": None} | parameters_of(inspect.signature(Kit.observe)) | {"total": "None"}
        elif name != "Surface":
            assert given == parameters_of(real), name


def parameters(definition: str) -> dict[str, str | None]:
    """Return the parameters of a function that is written down, and their defaults."""
    scope: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n{definition}", scope)
    (function,) = [value for value in scope.values() if inspect.isfunction(value)]
    return parameters_of(inspect.signature(function))


def parameters_of(signature: inspect.Signature) -> dict[str, str | None]:
    return {
        name: None if parameter.default is parameter.empty else repr(parameter.default)
        for name, parameter in signature.parameters.items()
        if name != "self"
    }


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    drawn = [line.strip() for line in (progresskit.errors.__doc__ or "").splitlines()]
    (shown,) = [b for b in blocks(REFERENCE / "python.md") if b.code.startswith("ProgressKitError")]
    assert [line for line in shown.code.splitlines() if line and line.strip() not in drawn] == []


def test_the_reference_of_the_browser_component_is_that_of_its_source() -> None:
    source = (PACKAGE / "web" / "progresskit.js").read_text()
    page = REFERENCE / "browser.md"

    (told,) = re.findall(r"export const strings = \{\n(.*?)\n\};", source, re.DOTALL)
    texts = dict(re.findall(r'^ *(\w+): "(.*)",$', told, re.MULTILINE))
    assert {name: row[0] for name, row in table(page, "Texts").items() if name in texts or row[0] in texts} == texts

    properties = set(re.findall(r"var\((--progress-bar-[\w-]+)", source))
    assert {name for name in table(page, "Custom properties") if name.startswith("--")} == properties

    made = {"icon", *re.findall(r'= part\("(\w+)"', source), "status", "failure", "piece"}
    parts = re.findall(r"`(\w+)`", "".join(line for line in text_of(page).splitlines(True) if line.startswith("| `")))
    assert made <= set(parts)

    (looks,) = re.findall(r"const LOOKS = \{\n(.*?)\n\};", source, re.DOTALL)
    states = set(re.findall(r"^ *(\w+): \[", looks, re.MULTILINE))
    assert states == set(re.findall(r"`(\w+)`", table(page, "Attributes")["data-state"][0]))


def test_the_table_of_backends_names_each_and_no_other() -> None:
    urls = [name for name in table(REFERENCE / "backends.md") if "://" in name]
    assert {url.split("://")[0] for url in urls} == set(BACKENDS)


def test_the_addresses_are_those_of_the_description() -> None:
    described = json.loads((PACKAGE / "web" / "openapi.json").read_text())["paths"]
    listed = {
        re.sub(r"\?.*", "", path).replace("KEY", "{key}")
        for row in table(REFERENCE / "http.md")
        for path in re.findall(r"^\[`(?:GET|POST) ([^`]*)`", row)
    }
    assert listed == {path.lstrip("/") for path in described}
