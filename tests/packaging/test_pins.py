"""
The environments that `make` creates hold pinned versions.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from .test_extras import canonical

CONSTRAINTS = Path(__file__).parents[2] / "constraints"
PIN = re.compile(r"(?P<name>[a-z0-9.-]+)==(?P<version>[a-z0-9.]+)(?P<marker> ; \S.*)?")


def pins(name: str) -> list[re.Match[str]]:
    """Match each line of a file of pins."""
    lines = (CONSTRAINTS / f"{name}.txt").read_text("utf-8").splitlines()
    found = [PIN.fullmatch(line) for line in lines]
    unmatched = [line for line, pin in zip(lines, found, strict=True) if pin is None]
    assert not unmatched
    return [pin for pin in found if pin is not None]


@pytest.mark.parametrize("name", ["main", "older"])
def test_each_line_pins_a_version_and_names_no_host_hash_or_path(name: str) -> None:
    found = pins(name)
    assert len(found) > 40
    unconditional = [pin["name"] for pin in found if not pin["marker"]]
    assert len(unconditional) == len(set(unconditional))


def test_all_that_an_extra_names_is_pinned() -> None:
    pinned = {pin["name"] for pin in pins("main")}
    extras = tomllib.loads((CONSTRAINTS.parent / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    named = {canonical(requirement) for requirements in extras.values() for requirement in requirements}
    assert named - {"progresskit"} <= pinned


def test_the_older_environment_has_the_oldest_celery_beside_arq() -> None:
    versions = {pin["name"]: pin["version"] for pin in pins("older")}
    assert versions["celery"].startswith("5.3.")
    assert versions["redis"].startswith("5.")
    assert "arq" in versions
