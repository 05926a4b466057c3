"""What `progresskit_django_tasks` does beyond the contract of queues: a site, as a process has one Django only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).with_name("site.py")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    """Return what became of the tasks of the site."""
    process = subprocess.run([sys.executable, str(SITE)], capture_output=True, text=True, timeout=300, check=False)
    assert not process.returncode, process.stderr
    read: dict[str, Any] = json.loads(process.stdout)
    return read


@pytest.mark.parametrize(
    ("task", "record"),
    [
        ("count", ["succeeded", "__main__.count", 1, 3, "ada", None, None]),
        ("in a loop", ["succeeded", "__main__.count_in_loop", 1, 3, None, None, None]),
        ("draws", ["succeeded", "__main__.draw", 1, 3, None, None, None]),
        ("draws in a loop", ["succeeded", "__main__.draw_in_loop", 1, 3, None, None, None]),
        ("fails", ["failed", "__main__.fail", 1, 0, None, None, "OSError"]),
        ("stops", ["cancelled", "__main__.stop", 1, 0, None, None, None]),
        ("is not interrupted", ["succeeded", "__main__._pay", 1, 1, None, None, None]),
    ],
)
def test_a_task_that_is_executed_at_once_is_a_job(outcomes: dict[str, Any], task: str, record: list[object]) -> None:
    assert outcomes[task] == record


def test_a_task_in_another_one_is_its_child(outcomes: dict[str, Any]) -> None:
    parent, record = outcomes["inside"]
    assert record == ["succeeded", "__main__.count", 1, 1, None, parent, None]


def test_after_the_tasks_there_is_no_surrounding_job(outcomes: dict[str, Any]) -> None:
    assert outcomes["surrounding"] == "silent"


def test_a_task_that_is_only_remembered_is_no_job(outcomes: dict[str, Any]) -> None:
    assert outcomes["dummy"] is None


def test_a_task_that_is_sent_in_a_transaction_waits_once_that_is_committed(outcomes: dict[str, Any]) -> None:
    waiting = ["pending", "__main__.count", 1, 0, None, None, None]
    assert outcomes["committed"] == [None, waiting]
    assert outcomes["rolled back"] == [None, None]
