"""A sample file to import: the characters of Unicode in the version of the running Python."""

from __future__ import annotations

import csv
import sys
import unicodedata
from typing import TYPE_CHECKING

import progresskit

if TYPE_CHECKING:
    from pathlib import Path

NAME = "unicode.csv"


def write_sample(path: Path) -> None:
    """Write the CSV file: a header, and a row for each character that has a name."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("code point", "character", "name", "category", "bidirectional", "decomposition"))
        for code in progresskit.track(range(sys.maxunicode + 1), unit="code points"):
            character = chr(code)
            name = unicodedata.name(character, "")
            if name:
                about = unicodedata.category(character), unicodedata.bidirectional(character)
                writer.writerow((f"U+{code:04X}", character, name, *about, unicodedata.decomposition(character)))
