"""A rate and the time left, as people say them."""

from __future__ import annotations

import re

import pytest

from progresskit.wording import binary, rate, time_left

UNITS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""), (-3, ""), (0, ""), (0.999, ""),
        (1, "a few seconds left"), (9.999, "a few seconds left"),
        (10, "about 10 seconds left"), (12.499, "about 10 seconds left"),
        (12.5, "about 15 seconds left"), (17.499, "about 15 seconds left"),
        (17.5, "about 20 seconds left"), (24.999, "about 20 seconds left"),
        (25, "about 30 seconds left"), (45, "about 50 seconds left"), (54.999, "about 50 seconds left"),
        (55, "about a minute left"), (89.999, "about a minute left"),
        (90, "about 2 minutes left"), (149.999, "about 2 minutes left"), (150, "about 3 minutes left"),
        (3_299, "about 55 minutes left"),
        (3_300, "about an hour left"), (5_399, "about an hour left"),
        (5_400, "about 2 hours left"), (9_000, "about 3 hours left"), (84_599, "about 23 hours left"),
        (84_600, "about a day left"), (129_599, "about a day left"),
        (129_600, "about 2 days left"), (216_000, "about 3 days left"), (1e9, "about 11,574 days left"),
    ],
)  # fmt: skip
def test_the_time_left_is_rounded_as_people_say_it(seconds: float | None, shown: str) -> None:
    assert time_left(seconds) == shown


def meaning(text: str) -> float:
    """Return the seconds that a text says."""
    if text == "a few seconds left":
        return 5
    found = re.fullmatch(r"about (a|an|\d+) (second|minute|hour|day)s? left", text)
    assert found, text
    return (1 if found[1] in {"a", "an"} else int(found[1])) * UNITS[found[2]]


def test_less_time_never_gives_a_text_of_more() -> None:
    texts: list[str] = []
    seconds = 60.0 * 86_400
    while seconds >= 1:
        text = time_left(seconds)
        if not texts or texts[-1] != text:
            texts.append(text)
        assert 0.6 < meaning(text) / seconds < 1.7 or seconds < 10, (seconds, text)
        seconds = min(seconds * 0.9995, seconds - 0.01)
    assert [meaning(text) for text in texts] == sorted({meaning(text) for text in texts}, reverse=True)


@pytest.mark.parametrize(
    ("per_second", "unit", "shown"),
    [
        (None, "rows", ""), (0, "rows", ""),
        (12_840.4, "rows", "12,840 rows/s"), (412.4, "rows", "412 rows/s"), (99.96, "rows", "100 rows/s"),
        (41.26, "rows", "41.3 rows/s"), (2.5, "rows", "2.5 rows/s"), (1, "rows", "1 rows/s"), (80, None, "80/s"),
        (0.99, "rows", "59.4 rows/min"), (1 / 60, "rows", "1 rows/min"),
        (0.0042, "models", "15.1 models/h"), (1e-5, "models", "0.036 models/h"), (1e-9, None, "0.000004/h"),
        (512, "B", "512 B/s"), (1_536, "B", "1.5 KiB/s"), (38_100_000, "B", "36.3 MiB/s"), (0.5, "B", "30 B/min"),
    ],
)  # fmt: skip
def test_a_rate_is_per_second_per_minute_or_per_hour(per_second: float | None, unit: str | None, shown: str) -> None:
    assert rate(per_second, unit) == shown


def test_bytes_have_the_largest_unit_that_fits() -> None:
    assert [binary(value) for value in (0, 1_023, 1_024, 3 * 2**30, 2**70)] == [
        (0, "B"), (1_023, "B"), (1, "KiB"), (3, "GiB"), (2**20, "PiB"),
    ]  # fmt: skip
