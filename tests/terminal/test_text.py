from __future__ import annotations

from typing import Any

import pytest

from progresskit.progress import Progress, State, Version
from progresskit.terminal import text


def running(**fields: Any) -> Progress:
    return Progress("job", State.RUNNING, Version(1, 1, 1))._replace(**fields)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.4, "0s"), (17, "17s"), (59.6, "1m"), (200, "3m 20s"), (3600, "1h"), (3605, "1h"), (7500, "2h 5m"),
     (90_061, "1d 1h"), (-3, "0s")],
)  # fmt: skip
def test_a_duration_is_reported_by_its_two_largest_units(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"current": 5208, "total": 12400, "unit": "rows"}, "5,208/12,400 rows"),
        ({"current": 12400, "total": 12400, "unit": "rows"}, "12,400 rows"),
        ({"current": 18230, "unit": "files"}, "18,230 files"),
        ({"current": 0}, ""),
        ({"current": 0, "total": 3}, "0/3"),
        ({"current": 1.25, "total": 2.5}, "1.2/2.5"),
        ({"current": 1536, "total": 5 * 2**20, "unit": "B"}, "1.5 KiB/5.0 MiB"),
    ],
)
def test_a_count_is_reported_with_its_total_and_unit(fields: dict[str, Any], shown: str) -> None:
    assert text.count(running(**fields)) == shown


def test_a_rate_has_its_unit_without_what_a_terminal_would_obey() -> None:
    assert text.rate(running(rate=412.4, unit="ro\x1b[2Jws")) == "412 ro[2Jws/s"
    assert text.rate(running(rate=None, unit="rows")) == ""


def test_text_of_a_job_cannot_steer_the_terminal() -> None:
    assert text.harmless("a\x1b[2Jb\r\nc\u202ed\x9be\x07") == "a[2Jb cde"


@pytest.mark.parametrize("columns", [1, 2, 5, 9, 30])
@pytest.mark.parametrize("content", ["Importing", "日本語のファイル", "e\u0301tude", ""])
def test_text_is_fitted_to_exactly_the_given_columns(content: str, columns: int) -> None:
    assert text.width(text.fit(content, columns)) == columns
