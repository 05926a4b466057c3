"""Keys for pages: what they open, for whom, and until when."""

from __future__ import annotations

import string
import sys
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit.errors import ConfigurationError, InvalidId, MissingPackage
from progresskit.kit import Kit
from progresskit.web import Surface
from progresskit.web.tokens import Grant, Keys, Right, make, read

NOW = 1_700_000_000.0
KEY = "a secret key that is long enough"
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", fullmatch=True)


def token(keys: Keys = KEY, right: Right = "watch", ttl: float = 60) -> str:
    return make(keys, "import-42", right, ttl, NOW)


@given(chosen=st.lists(ids, min_size=1, max_size=100, unique=True), right=st.sampled_from(["watch", "cancel"]))
def test_a_token_opens_the_jobs_it_was_made_for(chosen: list[str], right: Right) -> None:
    made = make(KEY, chosen, right, 60, NOW)
    assert read(KEY, made, NOW) == Grant(tuple(chosen), right, NOW + 60)


@given(chosen=st.lists(ids, min_size=1, max_size=100))
def test_a_token_needs_no_quoting_in_a_url_and_looks_like_no_file(chosen: list[str]) -> None:
    made = make(KEY, chosen, "watch", 60, NOW)
    assert made.startswith("~")
    assert set(made) <= set(string.ascii_letters + string.digits + "-_~")


def test_a_token_ends_when_its_time_is_up() -> None:
    made = token(ttl=60)
    assert read(KEY, made, NOW + 59.9) is not None
    assert read(KEY, made, NOW + 60) is None


def test_who_may_cancel_may_watch_and_not_the_other_way_round() -> None:
    watch, cancel = Grant(("a",), "watch"), Grant(("a",), "cancel")
    assert watch.allows("watch")
    assert not watch.allows("cancel")
    assert cancel.allows("watch")
    assert cancel.allows("cancel")


def test_the_first_key_signs_and_all_are_accepted() -> None:
    old, new = token("the old key"), token(["the new key", "the old key"])
    assert read(["the new key", "the old key"], old, NOW) is not None
    assert read("the new key", new, NOW) is not None
    assert read("the old key", new, NOW) is None
    assert read("the new key", old, NOW) is None


def test_a_key_may_be_bytes() -> None:
    assert read(KEY, token(KEY.encode()), NOW) is not None


def test_a_token_of_another_use_of_the_same_secret_is_foreign() -> None:
    from itsdangerous import Signer

    content = token()[1:].split("~")[0].encode()
    assert read(KEY, "~" + Signer(KEY, sep="~").sign(content).decode(), NOW) is None


@given(text=st.text(), at=st.integers(0, 200))
def test_what_was_changed_opens_nothing(text: str, at: int) -> None:
    made = token()
    for changed in (text, f"~{text}", made[:at] + text + made[at:], made[:at], made[at:], made + 4 * text):
        if changed != made:
            assert read(KEY, changed, NOW) is None


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("ids", ["a", "ab", "abc", ["import-42", "b"]])
def test_of_a_token_there_is_one_spelling(ids: str | list[str]) -> None:
    made = make(KEY, ids, "watch", 60, NOW)
    end = made.rindex("~")
    for at in (len(made) - 1, end - 1):  # the last letters of what it opens and of its signature have bits to spare
        spellings = [f"{made[:at]}{letter}{made[at + 1 :]}" for letter in ALPHABET]
        assert [spelling for spelling in spellings if read(KEY, spelling, NOW) is not None] == [made]


def test_the_signature_of_one_job_does_not_fit_another() -> None:
    content = make(KEY, "import-43", "cancel", 60, NOW).split("~")[1]
    signature = token().split("~")[2]
    assert read(KEY, f"~{content}~{signature}", NOW) is None


@pytest.mark.parametrize("bad", [[], [f"id-{n}" for n in range(101)]])
def test_a_token_covers_one_to_a_hundred_jobs(bad: list[str]) -> None:
    with pytest.raises(ValueError, match="1 to 100 ids"):
        make(KEY, bad, "watch", 60, NOW)


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan")])
def test_the_time_of_a_token_is_a_number_over_zero(ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        token(ttl=ttl)


def test_what_is_no_id_or_no_right_cannot_be_signed() -> None:
    with pytest.raises(InvalidId):
        make(KEY, "../etc", "watch", 60, NOW)
    with pytest.raises(ValueError, match="'watch', 'cancel' or 'report'"):
        token(right="admin")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "opened"),
    [
        (42, ("42",)),
        (UUID(int=7), (str(UUID(int=7)),)),
        ([1, "1", UUID(int=7), 2], ("1", str(UUID(int=7)), "2")),
    ],
)
def test_whole_numbers_and_uuids_are_signed_as_text(ids: Any, opened: tuple[str, ...]) -> None:
    grant = read(KEY, make(KEY, ids, "watch", 60, NOW), NOW)
    assert grant is not None
    assert grant.ids == opened


@pytest.mark.parametrize("ids", [True, [True], b"abc", 1.5, None])
def test_what_is_neither_text_nor_a_whole_number_is_not_signed(ids: Any) -> None:
    with pytest.raises(InvalidId):
        make(KEY, ids, "watch", 60, NOW)


@pytest.mark.parametrize("keys", [None, "", [], [""]])
def test_without_a_secret_key_signing_says_what_to_do_and_reading_refuses(keys: Keys) -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        token(keys)
    assert read(keys, token(), NOW) is None


def test_without_itsdangerous_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    brought = r'itsdangerous.*pip install "progresskit\[asgi\]"; the extras django and flask bring it too'
    with pytest.raises(MissingPackage, match=brought):
        token()


def test_a_kit_signs_with_its_own_secret_key() -> None:
    kit = Kit("memory://", secret_key=["new", "old"])
    signed = Surface(kit).sign(["a", "b"], "cancel", 60)
    grant = read("new", signed, NOW)
    assert grant is not None
    assert (grant.ids, grant.right) == (("a", "b"), "cancel")


def test_a_token_is_good_for_a_part_of_a_second_and_no_longer() -> None:
    made = token(ttl=0.5)
    assert read(KEY, made, NOW + 0.49) is not None
    assert read(KEY, made, NOW + 0.51) is None
