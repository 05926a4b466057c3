"""Finding out how a file of rows is written: its encoding, its delimiter, and whether it begins with a header."""

from __future__ import annotations

import codecs
import csv
import unicodedata
from collections import Counter
from io import TextIOWrapper
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from progresskit.errors import PublicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

    from charset_normalizer import CharsetMatch

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = ",;\t|"
_OLD_ENCODINGS = ("cp1252", "cp1250", "cp1251", "koi8_r", "cp932", "euc_jis_2004", "gb18030", "big5", "cp949")
"""Encodings of spreadsheets before UTF-8, supersets of Latin-1 and Shift-JIS included; more common ones come first."""

_NAMES = {"cp932": "Shift-JIS (cp932)", "euc_jis_2004": "EUC-JP", "cp949": "EUC-KR (cp949)"}
_MOST_CHAOS = 0.2
"""Limit of charset-normalizer's measure: text in the right encoding stays far below it."""

_BEGINNING_BYTES, _SAMPLE_BYTES = 4_096, 65_536
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

    def rows(self, on_read: Callable[[int], object] | None = None) -> Iterator[list[str]]:
        """
        Read the rows, without the header and blank lines; PublicError where the file is broken.

        `on_read` is called before each row with the number of bytes that were read from the file by then.
        """
        rows = _read(self.path, self.encoding, self.delimiter, on_read)
        if self.named:
            next(rows)
        return rows

    @property
    def encoding_name(self) -> str:
        """The encoding as people know it."""
        return _NAMES.get(self.encoding, self.encoding)


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
    """Return the encoding by its mark, UTF-8 where all of the file is, and otherwise an older one that fits."""
    with path.open("rb") as file:
        start = file.read(8192)
    for mark, encoding in _BOMS.items():
        if start.startswith(mark):
            return _checked(path, encoding)
    if b"\0" in start:
        return _checked(path, _utf_16(start))
    if _is_in(path, "utf-8"):
        return "utf-8"
    for encoding in _old_encodings(path):
        if _is_in(path, encoding):
            return encoding
    raise PublicError("the encoding of the file is not known: save it as UTF-8")


def _checked(path: Path, encoding: str) -> str:
    if not _is_in(path, encoding):
        raise PublicError(f"the file is broken: not all of it is {encoding.upper()}, as its beginning is")
    return encoding


def _is_in(path: Path, encoding: str) -> bool:
    """Return whether all of the file can be read in that encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:  # UTF-16 raises it without a position
        return False
    return True


def _utf_16(start: bytes) -> str:
    """Return the byte order, by the zero bytes of ASCII letters; raise PublicError for a file that is not text."""
    low, high = b"\0" in start[::2], b"\0" in start[1::2]
    if low == high:
        raise PublicError("this is not a text file")
    return "utf-16-le" if high else "utf-16-be"


def _old_encodings(path: Path) -> list[str]:
    """Return the encodings that may be meant, the likeliest first."""
    sample = _sample(path)
    ranks = {
        match.encoding: (match.chaos, _odd_places(str(match)), _OLD_ENCODINGS.index(match.encoding))
        for match in _matches(sample)
        if match.chaos <= _MOST_CHAOS
    }
    return sorted(ranks, key=ranks.__getitem__)


def _sample(path: Path) -> bytes:
    """Return the beginning, and the lines after it that are not ASCII: they may be few and far below."""
    sample = bytearray()
    with path.open("rb") as file:
        for line in file:
            if len(sample) < _BEGINNING_BYTES or not line.isascii():
                sample += line[:_SAMPLE_BYTES]
            if len(sample) >= _SAMPLE_BYTES:
                break
    return bytes(sample)


def _matches(sample: bytes) -> Iterator[CharsetMatch]:
    from charset_normalizer import from_bytes

    # One at a time: asked for all, it stops at the first that has no fault at all, and leaves out equals.
    for encoding in _OLD_ENCODINGS:
        best = from_bytes(sample, cp_isolation=[encoding], enable_fallback=False, preemptive_behaviour=False).best()
        if best is not None:
            yield best


def _odd_places(text: str) -> int:
    """Count the symbols before a letter ("\u00a3ukasz") and the half-width kana: signs of another encoding."""
    odd = (
        one
        for one, two in pairwise(text)
        if not one.isascii() and unicodedata.category(one)[0] in "SN" and two.isalpha()
    )
    return sum(1 for _ in odd) + sum("\uff61" <= one <= "\uff9f" for one in text)


def _delimiter(path: Path, encoding: str) -> str | None:
    """Return the delimiter that splits nearly all of the first rows into equally many fields, most fields first."""
    found: dict[str, int] = {}
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in islice(_read(path, encoding, delimiter), _SAMPLE_ROWS))
        if widths:
            width, times = widths.most_common(1)[0]
            if width > 1 and times >= _AGREEMENT * widths.total():
                found[delimiter] = width
    return max(found, key=found.__getitem__, default=None)


def _read(
    path: Path, encoding: str, delimiter: str | None, on_read: Callable[[int], object] | None = None
) -> Iterator[list[str]]:
    newline = "" if delimiter else None
    with path.open("rb") as bytes_file, TextIOWrapper(bytes_file, encoding=encoding, newline=newline) as file:
        rows = _parse(file, delimiter)
        if on_read is None:
            yield from rows
            return
        for row in rows:
            on_read(bytes_file.tell())
            yield row


def _parse(file: TextIO, delimiter: str | None) -> Iterator[list[str]]:
    if delimiter is None:
        yield from ([line.rstrip("\n")] for line in file if not line.isspace())
        return
    reader = csv.reader(file, delimiter=delimiter)
    try:
        yield from (row for row in reader if not _is_blank(row, delimiter))
    except csv.Error as error:
        raise PublicError(f"line {reader.line_num:,}: {error}") from error


def _is_blank(row: list[str], delimiter: str) -> bool:
    """Return whether the row was a line of white space; one of commas alone is a row of empty fields."""
    return (len(row) < 2 or delimiter.isspace()) and not any(field.strip() for field in row)


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
    """Return a unique name for each column; SQLite ignores the case of letters."""
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
