"""
The pages of the documentation, taken apart.

What is said of a fenced block stands in a comment on the line before it, which readers of the page do not see:

    <!-- file: examples/NAME -->    the block is that file of docs/, word for word
    <!-- given: CODE -->            the block is run after this code (which may have lines of its own)
    <!-- not run: REASON -->        the block is compiled only

Each other Python block is run, and the blocks of a page share their names. README.md has no such comments: what its
reader is to paste into a file begins with a line that names it, `# tasks.py; …` or `# settings.py, at its end; …`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]

REPOSITORY = "https://github.com/progresskit/progresskit/blob/main/"

_BLOCK = re.compile(r"(?:^<!-- ([^>]*?)\n?-->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$|^(?: {4}.*\n)+|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^# (\w+\.py)(, at its end)?\b.*\n((?:(?!# \w+\.py\b).*\n)*)", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


class Block(NamedTuple):
    """A fenced block; `line` is the one on which its code begins."""

    page: Path
    line: int
    language: str
    code: str
    note: str

    def said(self, kind: str) -> str | None:
        """Return what a note of this kind says of the block."""
        name, colon, rest = self.note.partition("\n" if self.note.startswith(f"{kind}\n") else ":")
        return rest.strip() if colon and name == kind else None

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """Return the path of a page as people say it."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """Return what stands in a page."""
    return page.read_text("utf-8")


def blocks(page: Path) -> Iterator[Block]:
    """Give the fenced blocks of a page."""
    text = text_of(page)
    for found in _BLOCK.finditer(text):
        note, language, code = found.groups()
        yield Block(page, text.count("\n", 0, found.start(3)) + 1, language, code, (note or "").strip())


def readme_files(block: Block) -> list[tuple[str, bool, str]]:
    """Return what a block of README.md puts into files: the name, whether that is there already, and the code."""
    return [(name, bool(there), code) for name, there, code in _FILE.findall(block.code)]


def without_code(text: str) -> str:
    """Return the text without what is code in it."""
    return _COMMENT.sub("", _CODE.sub("", text))


def links(page: Path) -> list[str]:
    """Return where the page links to, other sites left out; README.md names files by their address at GitHub."""
    targets = _LINK.findall(without_code(text_of(page)))
    if page == README:
        targets = [target.removeprefix(REPOSITORY) for target in targets]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the names that a code forge gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def table(page: Path, heading: str = "") -> dict[str, list[str]]:
    """Return the rows of the tables below a heading, to the next one, by what is in their first cell."""
    text = text_of(page)
    if heading:
        text = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.split(r" *(?<!\\)\| *", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return {first.strip("`"): rest for first, *rest in rows}
