"""Finding out how a file of rows is written: its encoding, its delimiter, and whether it begins with a header."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from progresskit.errors import PublicError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 50
_AGREEMENT = 0.9

csv.field_size_limit(2**30)


class Source(NamedTuple):
    """
    A file of rows and how to read it.

    Without a delimiter each line is a row of one column. `header` holds the names of the columns, `named` whether
    they were taken from the first row.
    """

    path: Path
    encoding: str
    delimiter: str | None
    header: list[str]
    named: bool

    def rows(self) -> Iterator[list[str]]:
        """Read the rows, without the header and blank lines; PublicError where the file is broken."""
        rows = _read(self.path, self.encoding, self.delimiter)
        if self.named:
            next(rows)
        return rows


def examine(path: Path) -> Source:
    """Look at a file; PublicError where it holds no text or no rows."""
    encoding = _encoding(path)
    delimiter = _delimiter(path, encoding)
    sample = list(islice(_read(path, encoding, delimiter), _SAMPLE_ROWS))
    if not sample:
        raise PublicError("the file is empty")
    named = delimiter is not None and _is_header(sample)
    width = max(len(row) for row in sample)
    names = sample[0] if named else ["line"] if delimiter is None else []
    return Source(path, encoding, delimiter, _unique(names, width), named)


def _encoding(path: Path) -> str:
    """Return the encoding by its mark, UTF-8 where all of the file is, and otherwise what old spreadsheets write."""
    with path.open("rb") as file:
        start = file.read(8192)
        for mark, encoding in _BOMS.items():
            if start.startswith(mark):
                return encoding
        if b"\0" in start:
            raise PublicError("this is not a text file")
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(start)
            while chunk := file.read(2**20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _delimiter(path: Path, encoding: str) -> str | None:
    """Return what parts nearly all of the first rows into equally many fields, the most fields first."""
    found: dict[str, int] = {}
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in islice(_read(path, encoding, delimiter), _SAMPLE_ROWS))
        if widths:
            width, times = widths.most_common(1)[0]
            if width > 1 and times >= _AGREEMENT * widths.total():
                found[delimiter] = width
    return max(found, key=found.__getitem__, default=None)


def _read(path: Path, encoding: str, delimiter: str | None) -> Iterator[list[str]]:
    with path.open(encoding=encoding, errors="replace", newline="" if delimiter else None) as file:
        if delimiter is None:
            yield from ([line.rstrip("\n")] for line in file)
            return
        reader = csv.reader(file, delimiter=delimiter)
        try:
            yield from (row for row in reader if row)
        except csv.Error as error:
            raise PublicError(f"line {reader.line_num:,}: {error}") from error


def _is_header(rows: list[list[str]]) -> bool:
    first = rows[0]
    return len(rows) > 1 and all(first) and len(set(first)) == len(first) and not any(map(_is_number, first))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _unique(names: list[str], width: int) -> list[str]:
    """Give each column a name that no other has; SQLite does not tell capitals from small letters."""
    unique: list[str] = []
    taken: set[str] = set()
    for number in range(width):
        name = wanted = (names[number].strip() if number < len(names) else "") or f"column {number + 1}"
        again = 1
        while name.casefold() in taken:
            again += 1
            name = f"{wanted} {again}"
        taken.add(name.casefold())
        unique.append(name)
    return unique
