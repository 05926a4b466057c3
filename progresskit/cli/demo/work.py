"""The work that the demo's tasks do. The functions know neither the queue nor the backend."""

from __future__ import annotations

import codecs
import csv
import keyword
import os
import sqlite3
import sys
import sysconfig
import tarfile
import tokenize
import unicodedata
from collections import Counter
from contextlib import closing
from io import TextIOWrapper
from itertools import count, islice, takewhile
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import progresskit
from progresskit.errors import PublicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UPLOAD = "upload"
"""The name of the file to import in the folder of its job."""

STEPS = {"Check": 1, "Store": 8}
"""The steps of an import; the weights are those of the time that they take."""

BATCH_ROWS = 100
"""Rows in one transaction: few, so that reported rows are on the disk a moment later."""

GAP = 150
"""Wide enough for some seconds of work: it is met for the first time beyond four million."""

_MOST_COLUMNS = 1_000
_HEAD = 3, 6, 40
"""The beginning of a table that is shown: rows, columns and characters of a field."""


def hello() -> None:
    """Do nothing: its success shows that the worker takes tasks."""


def import_file(folder: str) -> dict[str, Any]:
    """Import the upload in the folder into a table of SQLite beside it; return a summary."""
    with progresskit.observe(steps=STEPS, description="Importing"):
        return _import(Path(folder))


def import_sample(folder: str) -> dict[str, Any]:
    """Write the characters of Unicode to a file first, then import that."""
    with progresskit.observe(steps={"Write": 2, **STEPS}, description="Importing"):
        with progresskit.step("Write"), Path(folder, UPLOAD).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("code point", "character", "name", "category", "bidirectional"))
            for code in progresskit.track(range(sys.maxunicode + 1), unit="code points"):
                character = chr(code)
                if name := unicodedata.name(character, ""):
                    about = unicodedata.category(character), unicodedata.bidirectional(character)
                    writer.writerow((f"U+{code:04X}", character, name, *about))
        return _import(Path(folder))


def _import(folder: Path) -> dict[str, Any]:
    upload, database = folder / UPLOAD, folder / "table.db"
    with progresskit.step("Check", total=upload.stat().st_size, unit="B") as step:
        encoding, delimiter = _examine(upload)
        widths = Counter(map(len, _read(upload, encoding, delimiter, step.set_progress)))
        rows, columns = widths.total(), max(widths, default=0)
        if not 0 < columns <= _MOST_COLUMNS:
            raise PublicError(f"the file has {columns:,} columns, too many" if columns else "the file is empty")
    with progresskit.step("Store"), closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"CREATE TABLE rows ({', '.join(f'column_{number}' for number in range(columns))})")
        insert = f"INSERT INTO rows VALUES ({', '.join('?' * columns)})"
        found = progresskit.track(_read(upload, encoding, delimiter), total=rows, unit="rows")
        for number, row in enumerate(found, 1):
            connection.execute(insert, row + [""] * (columns - len(row)))
            if number % BATCH_ROWS == 0:
                connection.commit()
        connection.commit()
    most_rows, most_columns, most = _HEAD
    head = [
        [field if len(field) <= most else f"{field[: most - 1]}…" for field in row[:most_columns]]
        for row in islice(_read(upload, encoding, delimiter), most_rows)
    ]
    return {"rows": rows, "columns": columns, "encoding": encoding, "head": head}


def _examine(path: Path) -> tuple[str, str]:
    """Return the encoding, and the delimiter that the first line has most of; PublicError where it is not text."""
    encoding = "utf-8-sig"
    with path.open("rb") as file:
        start = file.read(2**16)
    if b"\0" in start:
        raise PublicError("this is not a text file")
    try:
        codecs.getincrementaldecoder(encoding)().decode(start)
    except UnicodeDecodeError:
        encoding = "cp1252"  # of spreadsheets before UTF-8
    with path.open(encoding=encoding, errors="replace") as text:
        return encoding, max(",;\t|", key=text.readline().count)


def _read(
    path: Path, encoding: str, delimiter: str, on_read: Callable[[int], object] | None = None
) -> Iterator[list[str]]:
    """Give the rows; `on_read` is called with the number of bytes read by then, at most the size of the file."""
    with path.open("rb") as bytes_file, TextIOWrapper(bytes_file, encoding, "replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            for row in filter(None, reader):  # a blank line is an empty row
                if on_read is not None:
                    on_read(bytes_file.tell())
                yield row
        except csv.Error as error:
            raise PublicError(f"line {reader.line_num:,}: {error}") from error


def standard_library(tests: bool = True) -> list[Path]:
    """Return the .py files of the running Python's standard library, sorted by path."""
    progresskit.current().update(description="Looking for the files")
    skipped = {"site-packages", "dist-packages", "__pycache__"} | (set() if tests else {"test", "tests", "idle_test"})
    found = []
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in skipped]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def index_library(folder: str) -> dict[str, Any]:
    """Count the tokens and the names in the standard library; a file that cannot be tokenised is skipped."""
    names: Counter[str] = Counter()
    tokens = indexed = skipped = 0
    for path in progresskit.track(standard_library(), unit="files", description="Counting names"):
        try:
            with path.open("rb") as file:
                found = list(tokenize.tokenize(file.readline))
        except (tokenize.TokenError, SyntaxError, UnicodeError):
            skipped += 1  # the library's own tests hold broken files, on purpose
            continue
        indexed += 1
        tokens += len(found)
        names.update(token.string for token in found if token.type == tokenize.NAME)
    for word in keyword.kwlist:
        del names[word]
    return {"files": indexed, "skipped": skipped, "tokens": tokens, "names": names.most_common(8)}


def compile_library(folder: str) -> None:
    """Compile the standard library with a broken file in the midst of it; PublicError at that one."""
    broken = Path(folder, "broken.py")
    broken.write_text("# This file is in the way of all the others.\nprint('Hello'\n")
    files = standard_library(tests=False)
    files.insert(len(files) // 2, broken)
    for path in progresskit.track(files, unit="files", description="Compiling"):
        try:
            compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise PublicError(f"{path.name}, line {error.lineno}: {error.msg}") from error


def pack(folder: str, group: str, number: int, weight: int, files: list[str]) -> None:
    """Pack the files into a `.tar.xz` file in the folder, as one part of the job `group`."""
    job = progresskit.get(group)
    if job is None or job.cancel_requested:
        return  # it was cancelled while this waited in the queue
    with (
        progresskit.part(group, number, weight=weight, cancellable=True),
        tarfile.open(Path(folder, f"{number}.tar.xz"), "w:xz") as packed,
    ):
        for path in progresskit.track(files, unit="files"):
            packed.add(path)


def find_gap(folder: str, gap: int = GAP) -> dict[str, Any]:
    """Return the first neighbouring primes that are `gap` or more apart."""
    primes = [3]
    with progresskit.observe(unit="numbers", description="Looking at one number after the other") as observer:
        for number in count(5, 2):
            observer.advance(2)
            if all(number % prime for prime in takewhile(isqrt(number).__ge__, primes)):
                if number - primes[-1] >= gap:
                    break
                primes.append(number)
    return {"from": primes[-1], "to": number, "gap": number - primes[-1]}


TASKS: tuple[Callable[..., Any], ...] = (
    hello,
    import_file,
    import_sample,
    index_library,
    compile_library,
    pack,
    find_gap,
)
