"""The order of two starts, as their tokens say it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from progresskit.start_tokens import LENGTH, UNDER_WAY_SECONDS, new_token, token_at, was_made_first

HOST, OTHER_HOST = "0bad51de", "5afe51de"


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


def test_a_token_is_of_letters_and_digits_as_all_stores_take_them() -> None:
    assert new_token().isalnum()
    assert new_token().isascii()


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [
        (token_at(HOST, 1), token_at(OTHER_HOST, 2), 0.0),
        (token_at(HOST, 1), token_at(HOST, 2), UNDER_WAY_SECONDS),
        (token_at(HOST, 1), token_at(HOST, 2), -UNDER_WAY_SECONDS),
        (token_at(HOST, 1), "0123456789abcdef", 0.0),
        ("0123456789abcdef", token_at(HOST, 1), 0.0),
        (None, token_at(HOST, 1), 0.0),
        (token_at(HOST, 1), None, 0.0),
    ],
    ids=["two hosts", "long after", "long before", "older format", "of an older format", "external", "over external"],
)
def test_no_order_is_known(one: str | None, other: str | None, seconds: float) -> None:
    assert was_made_first(one, seconds, other, 0.0) is None
