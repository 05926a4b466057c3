"""The work that the demo's tasks do."""

from __future__ import annotations

import sqlite3
import sysconfig
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import progresskit
from progresskit.cli.demo.work import (
    UPLOAD,
    compile_library,
    find_gap,
    import_file,
    index_library,
    pack,
    standard_library,
)
from progresskit.errors import PublicError

TABLES: dict[str, tuple[str | bytes, list[list[str]]]] = {
    "quoted": ('name,says\nAda,"Hello, ""you""\nthere"\n', [["name", "says"], ["Ada", 'Hello, "you"\nthere']]),
    "semicolons": ("name;price\nA;1,5\n", [["name", "price"], ["A", "1,5"]]),
    "tabs": ("name\tage\nAda\t36\n", [["name", "age"], ["Ada", "36"]]),
    "text": ("One line.\nAnother one.\n", [["One line."], ["Another one."]]),
    "BOM": ("\ufeffname,age\nAda,36\n", [["name", "age"], ["Ada", "36"]]),
    "Windows": ("name,says\nZoë,“it’s 3 €”\n".encode("cp1252"), [["name", "says"], ["Zoë", "“it’s 3 €”"]]),
    "DOS": ("name,age\r\nAda,36\r\n", [["name", "age"], ["Ada", "36"]]),
    "blank lines": ("name,age\n\nAda,36\n\n\n", [["name", "age"], ["Ada", "36"]]),
    "no end of line": ("name,age\nAda,36", [["name", "age"], ["Ada", "36"]]),
    "short and long rows": ("a,b\n3\n4,5,6\n", [["a", "b", ""], ["3", "", ""], ["4", "5", "6"]]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_file_becomes_the_table_that_a_reader_would_expect(name: str, tmp_path: Path) -> None:
    content, rows = TABLES[name]
    (tmp_path / UPLOAD).write_bytes(content.encode() if isinstance(content, str) else content)
    result = import_file(str(tmp_path))
    assert (result["rows"], result["columns"]) == (len(rows), len(rows[0]))
    assert [row[0] for row in result["head"]] == [row[0] for row in rows]
    with closing(sqlite3.connect(tmp_path / "table.db")) as connection:
        assert [list(row) for row in connection.execute("SELECT * FROM rows")] == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"," * 1_000, "the file has 1,001 columns, too many"),
        (b"a,b\n1," + b"2" * 200_000, r"line 2: field larger than field limit"),
        (b"\x89PNG\r\n\0\0", "this is not a text file"),
    ],
)
def test_a_file_without_a_table_is_refused_in_words_that_the_viewer_sees(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / UPLOAD).write_bytes(content)
    with pytest.raises(PublicError, match=words):
        import_file(str(tmp_path))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that these tests take for the standard library, with one file in it."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "a.py").write_text("def f(x):\n    return x + x\n")
    get_path: Any = lambda *_: str(folder)  # noqa: E731
    monkeypatch.setattr(sysconfig, "get_path", get_path)
    return folder


def test_names_are_counted_without_keywords_and_broken_files_are_skipped(library: Path) -> None:
    (library / "bad.py").write_text("'''never ends\n")
    result = index_library("")
    assert (result["files"], result["skipped"]) == (1, 1)
    assert result["names"] == [("x", 3), ("f", 1)]


def test_the_standard_library_is_found_without_the_packages_that_were_installed_beside_it() -> None:
    files = standard_library()
    assert any(path.name == "tokenize.py" for path in files)
    assert not any("site-packages" in path.parts for path in files)
    assert set(standard_library(tests=False)) < set(files)


def test_compiling_ends_at_a_broken_file_and_says_where(library: Path, tmp_path: Path) -> None:
    with pytest.raises(PublicError, match=r"broken\.py, line 2: '\(' was never closed"):
        compile_library(str(tmp_path))


def test_files_are_packed_as_a_part_of_a_job_unless_that_is_cancelled(library: Path, tmp_path: Path) -> None:
    group = progresskit.group(size=2, weight=4)
    pack(str(tmp_path), group, 0, 3, [str(library / "a.py")])
    record = progresskit.get(group)
    assert record is not None
    assert (record.percent, record.parts) == (75, (2, 1, 0, 0, 0))
    with tarfile.open(tmp_path / "0.tar.xz") as packed:
        assert [Path(name).name for name in packed.getnames()] == ["a.py"]
    progresskit.cancel(group)
    pack(str(tmp_path), group, 1, 1, [str(library / "a.py")])
    assert not (tmp_path / "1.tar.xz").exists()


def test_a_gap_between_primes_is_the_first_of_its_width() -> None:
    assert find_gap("", 14) == {"from": 113, "to": 127, "gap": 14}
    assert find_gap("", 34) == {"from": 1327, "to": 1361, "gap": 34}
