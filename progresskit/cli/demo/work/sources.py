"""Working through the sources of the running Python's standard library."""

from __future__ import annotations

import keyword
import os
import sysconfig
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import progresskit
from progresskit.errors import PublicError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NOT_OURS = frozenset(("site-packages", "dist-packages", "__pycache__"))
_TESTS = frozenset(("test", "tests", "idle_test"))
_MOST_USED = 8


def standard_library(tests: bool = True) -> list[Path]:
    """Return its .py files, sorted by path."""
    progresskit.current().update(description="Looking for the files")
    skipped = _NOT_OURS if tests else _NOT_OURS | _TESTS
    found = []
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in skipped]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def index_library() -> dict[str, Any]:
    """Count the tokens of the standard library and the names that its authors use most."""
    return index(standard_library())


def index(files: Iterable[Path]) -> dict[str, Any]:
    """Count the tokens of these files, and the names in them; a file that cannot be tokenised is skipped."""
    names: Counter[str] = Counter()
    tokens = indexed = skipped = 0
    for path in progresskit.track(files, unit="files", description="Counting names"):
        try:
            found = list(_tokens(path))
        except (tokenize.TokenError, SyntaxError, UnicodeError):
            skipped += 1  # the library's own tests hold broken files, on purpose
            continue
        indexed += 1
        tokens += len(found)
        names.update(token.string for token in found if token.type == tokenize.NAME)
    for word in keyword.kwlist:
        del names[word]
    used = [[name, times] for name, times in names.most_common(_MOST_USED)]
    return {"files": indexed, "skipped": skipped, "tokens": tokens, "names": used}


def _tokens(path: Path) -> Iterator[tokenize.TokenInfo]:
    with path.open("rb") as file:
        yield from tokenize.tokenize(file.readline)


def compile_library(broken: str) -> dict[str, Any]:
    """Compile the standard library with the file `broken` in the midst of it, which ends the job."""
    files = standard_library(tests=False)
    files.insert(len(files) // 2, Path(broken))
    return compile_all(files)


def compile_all(files: list[Path]) -> dict[str, Any]:
    """Compile the files; PublicError at the first that is not Python."""
    for path in progresskit.track(files, unit="files", description="Compiling"):
        try:
            compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise PublicError(f"{path.name}, line {error.lineno}: {error.msg}") from error
    return {"files": len(files)}
