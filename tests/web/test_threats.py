"""Each line of the documented threat model names tests, and there are such tests."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from progresskit import testing

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/explanation/security.md"


def lines() -> list[str]:
    """Return the lines of the table."""
    text = PAGE.read_text().partition("| threat | defence | test |")[2]
    return [line for line in text.splitlines()[2:] if line.startswith("|")]


@cache
def all_tests() -> set[str]:
    """Return the names of the tests there are."""
    pattern = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)
    folders = (TESTS, Path(testing.__file__).parent)  # the contracts ship
    found = (pattern.findall(path.read_text()) for folder in folders for path in folder.rglob("*.py"))
    return {name for names in found for name in names}


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.split("|")[1].strip())
def test_a_threat_has_its_test(line: str) -> None:
    named = re.findall(r"`(test_\w+)`", line.split("|")[3])
    assert named
    assert [name for name in named if name not in all_tests()] == []
