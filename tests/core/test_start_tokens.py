"""The order of two starts, as their tokens say it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from progresskit.start_tokens import LENGTH, UNDER_WAY_SECONDS, new_token, token_at, was_made_first

HOST, OTHER_HOST = b"one", b"two"


def test_tokens_of_all_processes_of_a_host_have_the_order_in_which_they_were_made() -> None:
    script = "from progresskit.start_tokens import new_token; print(new_token())"
    first = new_token()
    second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    third = new_token()
    assert len({len(first), len(second), len(third), LENGTH}) == 1
    for one, other in [(first, second), (second, third), (first, third)]:
        assert was_made_first(one, 10.0, other, 5.0) is True
        assert was_made_first(other, 5.0, one, 10.0) is False


def test_tokens_differ_that_were_made_at_the_same_time() -> None:
    assert len({new_token() for _ in range(10_000)}) == 10_000


def test_tokens_compare_as_their_times_do() -> None:
    times = sorted({16 * (number * step + 1) for number in range(70) for step in (1, 64, 64**2, 64**5, 64**8)})
    assert sorted((token_at(HOST, time) for time in times), key=str.encode) == [token_at(HOST, time) for time in times]


def test_a_token_is_of_characters_that_all_stores_take() -> None:
    for _ in range(100):
        assert re.fullmatch("[A-Za-z0-9_-]{18}", new_token())


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [
        (token_at(HOST, 1_000), token_at(OTHER_HOST, 2_000), 0.0),
        (token_at(HOST, 1_000), token_at(HOST, 2_000), UNDER_WAY_SECONDS),
        (token_at(HOST, 1_000), token_at(HOST, 2_000), -UNDER_WAY_SECONDS),
        (token_at(HOST, 1_000), "0123456789abcdef", 0.0),
        ("0123456789abcdef", token_at(HOST, 1_000), 0.0),
        (None, token_at(HOST, 1_000), 0.0),
        (token_at(HOST, 1_000), None, 0.0),
    ],
    ids=["two hosts", "long after", "long before", "older format", "of an older format", "external", "over external"],
)
def test_no_order_is_known(one: str | None, other: str | None, seconds: float) -> None:
    assert was_made_first(one, seconds, other, 0.0) is None
