"""Decoding: of any text that may be stored, a record that every transport can send, or a ValueError; logged once."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit import decoding
from progresskit.decoding import check_stored, check_write, decode, decode_each, report_undecodable
from progresskit.progress import Progress, State, Stored, Version, encode, moment
from progresskit.testing import record, start

texts = st.text(max_size=10)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from([*json.loads(encode(record("job"))), "owner", "unknown"]), jsons)


def kept(body: str, override: str | None = None, created: Any = None, state: State = State.FAILED) -> Stored:
    return Stored(1, 1, 1, "token", state, body, override, created)


def sendable(progress: Progress) -> bool:
    """Return whether a transport can send it, and the next process would decode it as the same."""
    assert json.loads(progress.to_json().encode())["id"] == progress.id
    return decode(kept(encode(progress)), id=progress.id)._replace(state=progress.state) == progress


@given(bodies, st.none() | bodies, st.none() | texts)
def test_an_object_with_whatever_values_is_a_record_that_can_be_sent(
    body: dict[str, Any], override: dict[str, Any] | None, created: str | None
) -> None:
    stored = kept(json.dumps(body), None if override is None else json.dumps(override), created)
    progress = decode(stored, id="job")
    assert (progress.id, progress.state, progress.version) == ("job", State.FAILED, Version(1, 1, 1))
    assert sendable(progress._replace(created_at=None))


@given(st.text() | jsons.map(json.dumps), st.none() | st.text())
def test_any_other_text_is_a_value_error(body: str, override: str | None) -> None:
    try:
        assert sendable(decode(kept(body, override), id="job"))
    except ValueError:
        assert decode_each("job", decode, kept(body, override), False, "job") is None


@pytest.mark.parametrize("body", ["[" * 100_000, '{"meta":' + "[" * 600 + "]" * 600 + "}", "{" * 5, "9" * 5_000])
def test_what_is_nested_too_deep_or_has_too_many_digits_is_a_value_error(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(kept(body), id="job")


def test_what_is_nested_as_deep_as_may_be_reported_is_decoded() -> None:
    meta: dict[str, Any] = {}
    for _ in range(98):
        meta = {"a": meta}
    progress = record("job", meta={"a": meta, "b": [{}] * 200})
    assert decode(kept(encode(progress))).meta == progress.meta


def test_a_final_update_from_outside_is_shown_even_on_top_of_a_body_that_cannot_be_decoded() -> None:
    override = encode(record("job", State.FAILED, finished_at=moment(5)))
    assert decode(kept("{", override)).finished_at == moment(5)
    with pytest.raises(ValueError, match=r"."):
        decode(kept(encode(record("job")), "{"))


def test_an_owner_that_is_no_text_of_unicode_is_nobody_and_never_another_user() -> None:
    for owner in ("a\ud800", "\udc00a"):
        assert decode(kept(json.dumps({"owner": owner})), id="job").owner is None
    for owner in ("a\ufffd", "Jos\u00e9", "\U0001f9c0"):
        assert decode(kept(json.dumps({"owner": owner, "unit": "\ud800"})), id="job").owner == owner


def test_the_id_under_which_a_record_was_found_counts() -> None:
    assert decode(kept('{"id":"other"}'), id="job").id == "job"
    assert decode(kept('{"id":"other"}')).id == "other"
    for body in ("{}", '{"id":[7]}', '{"id":"not an id"}'):
        with pytest.raises(ValueError, match="not a job id"):
            decode(kept(body))


def test_times_are_in_utc_whatever_zone_they_were_stored_in() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    zone = timezone(timedelta(hours=5, minutes=30))
    for text in (noon.isoformat(), "2026-01-01T12:00:00.000Z", noon.astimezone(zone).isoformat(), "2026-01-01T12:00"):
        progress = decode(kept(json.dumps({"updated_at": text})), id="job")
        assert progress.updated_at == noon
        assert json.loads(progress.to_json())["updated_at"] == "2026-01-01T12:00:00.000Z"
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "", "x" * 10_000):
        assert decode(kept(json.dumps({"updated_at": text})), id="job").updated_at is None


@pytest.mark.parametrize(
    "fields",
    [{"run": "1"}, {"run": True}, {"attempt": None}, {"seq": 1.5}, {"body": None}, {"body": b"{}"}, {"token": 7}],
)
def test_what_cannot_be_folded_is_refused(fields: dict[str, Any]) -> None:
    write = start("job")
    assert check_write(write) is write
    assert check_stored(kept("{}")) == kept("{}")
    with pytest.raises(ValueError, match="cannot be"):
        check_write(write._replace(**fields))
    with pytest.raises(ValueError, match="cannot be"):
        check_stored(kept("{}")._replace(**fields))


@pytest.mark.parametrize("fields", [{"lease": "30"}, {"ttl": None}, {"ttl": float("nan")}, {"id": 5}, {"kind": []}])
def test_a_write_whose_times_or_id_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        check_write(start("job")._replace(**fields))


def test_each_id_is_logged_once_and_not_more_than_a_thousand(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_reported", {})
    with caplog.at_level(logging.DEBUG, "progresskit"):
        for _ in range(2):
            for number in range(1_500):
                report_undecodable(f"job-{number}", ValueError("no JSON"))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1_001
    assert "job job-0 cannot be decoded" in messages[0]
    assert "no more of them are logged" in messages[-1]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
