"""The work that the demo's tasks do."""

from __future__ import annotations

import codecs
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import progresskit
from progresskit.cli.demo.table import PAGE_ROWS, read_page
from progresskit.cli.demo.work.archives import FILES, batches, pack
from progresskit.cli.demo.work.importing import import_file
from progresskit.cli.demo.work.primes import find_gap
from progresskit.cli.demo.work.reading import examine
from progresskit.cli.demo.work.sources import compile_all, index, standard_library
from progresskit.errors import Cancelled, PublicError
from progresskit.observer import job_of

Put = Callable[[str | bytes], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Give a function that writes a file."""

    def put(content: str | bytes) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


TABLES: dict[str, tuple[str | bytes, list[str], list[list[str]]]] = {
    "header": ("name,age\nAda,36\nAlan,41\n", ["name", "age"], [["Ada", "36"], ["Alan", "41"]]),
    "no header": ("1,2\n3,4\n", ["column 1", "column 2"], [["1", "2"], ["3", "4"]]),
    "quoted": ('name,says\nAda,"Hello, ""you""\nthere"\n', ["name", "says"], [["Ada", 'Hello, "you"\nthere']]),
    "semicolons": ("name;price\nA;1,5\nB;2,5\n", ["name", "price"], [["A", "1,5"], ["B", "2,5"]]),
    "tabs": ("name\tage\nAda\t36\n", ["name", "age"], [["Ada", "36"]]),
    "text": ("One line.\nAnother, with a comma.\n", ["line"], [["One line."], ["Another, with a comma."]]),
    "BOM": ("\ufeffname,age\nAda,36\n", ["name", "age"], [["Ada", "36"]]),
    "UTF-16 without its mark": (
        "name,town\nAda,Łódź\n".encode("utf-16-be"), ["name", "town"], [["Ada", "Łódź"]]
    ),
    "UTF-16": ("name,town\nAda,Łódź\n".encode("utf-16"), ["name", "town"], [["Ada", "Łódź"]]),
    "Latin-1": ("name,town\nJosé,Köln\n".encode("latin-1"), ["name", "town"], [["José", "Köln"]]),
    "Windows": ("name,says\nZoë,“it’s 3 €”\n".encode("cp1252"), ["name", "says"], [["Zoë", "“it’s 3 €”"]]),
    "Polish": ("imię,miasto\nŁukasz,Łódź\n".encode("cp1250"), ["imię", "miasto"], [["Łukasz", "Łódź"]]),
    "Russian": ("имя,город\nИван,Москва\n".encode("cp1251"), ["имя", "город"], [["Иван", "Москва"]]),
    "Shift-JIS": ("名前,町\n田中太郎,東京都\n".encode("shift_jis"), ["名前", "町"], [["田中太郎", "東京都"]]),
    "EUC-JP": ("名前,町\n田中太郎,東京都\n".encode("euc_jp"), ["名前", "町"], [["田中太郎", "東京都"]]),
    "GBK": ("姓名,城市\n王伟,北京市\n".encode("gbk"), ["姓名", "城市"], [["王伟", "北京市"]]),
    "old, far below": (
        ("id,name\n" + "1,Ada\n" * 40 + "2," + "x" * 9_000 + "\n3,José\n").encode("latin-1"),
        ["id", "name"], [["1", "Ada"]] * 40 + [["2", "x" * 9_000], ["3", "José"]],
    ),
    "DOS": ("name,age\r\nAda,36\r\n", ["name", "age"], [["Ada", "36"]]),
    "blank lines of a text": ("One line.\n\n  \nAnother.\n\n", ["line"], [["One line."], ["Another."]]),
    "blank lines with spaces": ("name,age\n  \nAda,36\n\t\n", ["name", "age"], [["Ada", "36"]]),
    "empty fields": ("name,age\nAda,36\n,\n", ["name", "age"], [["Ada", "36"], ["", ""]]),
    "blank lines": ("name,age\n\nAda,36\n\n\n", ["name", "age"], [["Ada", "36"]]),
    "no end of line": ("name,age\nAda,36", ["name", "age"], [["Ada", "36"]]),
    "double names": ("a,A,\n1,2,3\n", ["column 1", "column 2", "column 3"], [["a", "A", ""], ["1", "2", "3"]]),
    "double names, told apart": ("a,A\n1,2\n", ["a", "A 2"], [["1", "2"]]),
    "quotes in a name": ('a""b,c\n1,2\n', ['a""b', "c"], [["1", "2"]]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_file_becomes_the_table_that_a_reader_would_expect(name: str, put: Put, tmp_path: Path) -> None:
    content, columns, rows = TABLES[name]
    source = examine(put(content))
    assert source.header == columns
    assert list(source.rows()) == rows
    result = import_file(str(source.path), str(tmp_path / "table.db"))
    assert (result["rows"], result["columns"], result["cut"]) == (len(rows), len(columns), 0)
    page = read_page(tmp_path / "table.db", 1)
    assert page.columns == columns
    assert [list(row) for row in page.rows] == rows


def test_short_rows_are_filled_up_and_long_ones_are_cut_and_counted(put: Put, tmp_path: Path) -> None:
    regular = "a,b\n" + "1,2\n" * 60
    result = import_file(str(put(f"{regular}3\n4,5,6\n")), str(tmp_path / "table.db"))
    assert result == {"rows": 62, "columns": 2, "encoding": "utf-8", "cut": 1}
    assert read_page(tmp_path / "table.db", 2).rows[-2:] == [("3", None), ("4", "5")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (" \n\t\n", "the file is empty"),
        (b"\x89PNG\r\n\0\0", "this is not a text file"),
        (bytes(range(1, 256)) * 20, "the encoding of the file is not known: save it as UTF-8"),
        (codecs.BOM_UTF8 + b"a,b\n\xff,1\n", "the file is broken: not all of it is UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0,\0b", "the file is broken: not all of it is UTF-16"),
    ],
)
def test_what_is_no_text_is_refused_in_words_that_the_viewer_sees(content: str | bytes, words: str, put: Put) -> None:
    with pytest.raises(PublicError, match=words):
        examine(put(content))


def test_the_encoding_is_named_as_people_know_it(put: Put, tmp_path: Path) -> None:
    path = put("名前,町\n田中太郎,東京都\n".encode("shift_jis"))
    assert import_file(str(path), str(tmp_path / "table.db"))["encoding"] == "Shift-JIS (cp932)"


def test_an_import_that_is_cancelled_leaves_no_table(put: Put, tmp_path: Path) -> None:
    path = put("a,b\n" + "1,2\n" * 5000)
    with pytest.raises(Cancelled), progresskit.observe(cancellable=True) as job:
        job_of(job).request_cancel()
        import_file(str(path), str(tmp_path / "table.db"))
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_is_read_page_by_page_and_a_page_that_is_not_there_is_the_nearest(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "table.db")) as connection, connection:
        connection.execute("CREATE TABLE rows (n)")
        connection.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(PAGE_ROWS + 1)])
    assert [len(read_page(tmp_path / "table.db", number).rows) for number in (-1, 1, 2, 99)] == [
        PAGE_ROWS,
        PAGE_ROWS,
        1,
        1,
    ]
    assert read_page(tmp_path / "table.db", 2).first == PAGE_ROWS + 1


def test_names_are_counted_without_keywords_and_broken_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("def f(x):\n    return x + x\n")
    (tmp_path / "bad.py").write_text("'''never ends\n")
    result = index(sorted(tmp_path.iterdir()))
    assert (result["files"], result["skipped"]) == (1, 1)
    assert result["names"] == [["x", 3], ["f", 1]]


def test_the_standard_library_is_found_and_what_was_installed_beside_it_is_not() -> None:
    files = standard_library()
    assert any(path.name == "tokenize.py" for path in files)
    assert not any("site-packages" in path.parts for path in files)
    assert set(standard_library(tests=False)) < set(files)


def test_compiling_ends_at_a_broken_file_and_says_where(tmp_path: Path) -> None:
    for name, content in {"a.py": "x = 1\n", "b.py": "\nx = (\n", "c.py": "y = 2\n"}.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(PublicError, match=r"b\.py, line 2: '\(' was never closed"):
        compile_all(sorted(tmp_path.iterdir()))


def test_files_are_packed_as_a_part_of_a_job_unless_that_is_cancelled(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    group = progresskit.group(size=2, weight=4)
    pack(group, 0, 3, files, str(tmp_path / "0.tar.xz"))
    record = progresskit.get(group)
    assert record is not None
    assert (record.percent, record.parts) == (75, (2, 1, 0, 0, 0))
    with tarfile.open(tmp_path / "0.tar.xz") as packed:
        assert [Path(name).name for name in packed.getnames()] == ["a.py", "b.py"]
    progresskit.cancel(group)
    pack(group, 1, 1, files, str(tmp_path / "1.tar.xz"))
    assert not (tmp_path / "1.tar.xz").exists()


def test_the_library_is_packed_in_batches_of_all_its_files() -> None:
    parts = batches()
    assert [path for part in parts for path in part.files] == standard_library()
    assert max(len(part.files) for part in parts) == FILES
    assert min(part.weight for part in parts) > 0


def test_a_gap_between_primes_is_the_first_of_its_width() -> None:
    assert find_gap(14) == {"from": 113, "to": 127, "gap": 14}
    assert find_gap(34) == {"from": 1327, "to": 1361, "gap": 34}
