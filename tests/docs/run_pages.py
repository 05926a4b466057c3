"""
Runs the blocks of pages, each page with names of its own; started as a process, because they configure what is global.

Standard input holds `{page: [[line, code], …]}`, standard output says `{page: what went wrong, or null}`.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
from contextlib import redirect_stdout
from typing import Any

import progresskit


def run(page: str, blocks: list[tuple[int, str]]) -> str | None:
    names: dict[str, Any] = {"__name__": "page"}
    progresskit.configure("memory://", strict=True)
    for line, code in blocks:
        try:
            with redirect_stdout(sys.stderr):
                exec(compile("\n" * (line - 1) + code, page, "exec"), names)
        except BaseException:
            return traceback.format_exc()
    return None


if __name__ == "__main__":
    faulthandler.dump_traceback_later(240, exit=True)  # what hangs is named
    given: dict[str, list[tuple[int, str]]] = json.load(sys.stdin)
    print(json.dumps({page: run(page, blocks) for page, blocks in given.items()}))
