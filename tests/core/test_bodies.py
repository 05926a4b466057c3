"""Stored bodies: the public part is sent as it is where nothing has changed it, and any other text is decoded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from progresskit import bodies
from progresskit.decoding import decode
from progresskit.progress import Failure, State, Stored, Version, created_at, encode, moment
from progresskit.testing import record

SECRETS: dict[str, Any] = {"owner": "owner-7", "lease": 98.5, "error": Failure("KeyError", "secret-text")}


def stored(body: str, **fields: Any) -> Stored:
    return Stored(**{"run": 1, "attempt": 1, "seq": 1, "token": None, "state": State.RUNNING, "body": body, **fields})


def is_sent_as_it_is(kept: Stored, id: str = "job") -> bool:
    progress = decode(kept, id=id)
    sent = progress.to_json()
    assert json.loads(sent) == progress.to_dict(), "whichever way it was made"
    parts = bodies.split(kept.body)
    return parts is not None and sent.startswith(parts.before)


def test_a_body_is_the_json_object_that_other_releases_and_databases_read() -> None:
    progress = record("job", State.FAILED, kind="a", current=3, total=9, meta={"a": [1]}, parent="b", **SECRETS)
    body = json.loads(encode(progress))
    expected = progress.to_dict() | {"lease": 98.5, "owner": "owner-7", "crc32": body["crc32"]}
    for name in ("version", "cursor", "stalled", "cancel_requested", "parts"):
        del expected[name]
    assert body == expected


def test_the_public_part_holds_nothing_private() -> None:
    progress = record("job", State.FAILED, **SECRETS)
    parts = bodies.split(encode(progress))
    assert parts is not None
    for secret in ("owner", "lease", "98.5", "secret-text"):
        assert secret not in parts.before + parts.after
        assert secret in parts.private


def test_a_private_error_is_in_the_record_and_not_in_what_is_redacted() -> None:
    progress = decode(stored(encode(record("job", State.FAILED, **SECRETS)), state=State.FAILED), id="job")
    assert progress.error == SECRETS["error"]
    assert json.loads(progress.to_json())["error"]["message"] == "secret-text"
    assert json.loads(progress.redacted().to_json())["error"] == {"type": "KeyError", "message": None}


@pytest.mark.parametrize("error", [None, Failure("PublicError", "shown", True), Failure("A", None)])
def test_a_record_without_a_private_error_is_sent_as_it_is(error: Failure | None) -> None:
    kept = stored(encode(record("job", State.FAILED, error=error, owner="7")), state=State.FAILED)
    assert is_sent_as_it_is(kept)
    assert decode(kept, id="job").error == error
    assert decode(kept, id="job").redacted().to_json() == decode(kept, id="job").to_json()


def test_the_fields_of_the_store_are_in_what_is_sent() -> None:
    kept = stored(encode(record("job", current=3)), run=4, seq=7, cancel_requested=True, born=36)
    assert is_sent_as_it_is(kept)
    shown = json.loads(decode(kept, True, id="job").to_json())
    assert (shown["version"], shown["cursor"], shown["stalled"], shown["cancel_requested"]) == (
        "4.1.7", "10-4.1.7sc", True, True,
    )  # fmt: skip


def test_a_run_that_was_announced_keeps_its_first_moment() -> None:
    created = "2001-02-03T04:05:06.007Z"
    for parent in (None, "created_at"):
        body = encode(record("job", parent=parent, started_at=moment(9)))
        assert is_sent_as_it_is(stored(body, created=created))
        assert json.loads(decode(stored(body, created=created), id="job").to_json())["created_at"] == created
        without = encode(record("job", parent=parent, created_at=None))
        assert json.loads(decode(stored(without, created=created), id="job").to_json())["created_at"] == created


def test_a_body_with_a_checksum_that_is_no_json_has_no_details() -> None:
    parts = bodies.split(encode(record("job", current=3)))
    assert parts is not None
    progress = decode(stored(bodies.join(parts._replace(after="}"))), id="job")
    assert (progress.id, progress.state, progress.current) == ("job", State.RUNNING, 0)


def test_a_first_moment_that_is_no_time_of_ours_is_not_sent() -> None:
    kept = stored(encode(record("job")), created='2001","owner":"')
    assert json.loads(decode(kept, id="job").to_json())["created_at"] is None
    assert json.loads(decode(kept._replace(created="2001-02-03"), id="job").to_json())["created_at"] == (
        "2001-02-03T00:00:00.000Z"
    )


@pytest.mark.parametrize(
    "changed",
    [
        lambda kept: kept._replace(body=kept.body.replace('"current":3', '"current":4')),
        lambda kept: kept._replace(body=kept.body.replace("\t", " ")),
        lambda kept: kept._replace(body=json.dumps(json.loads(kept.body))),
        lambda kept: kept._replace(state=State.RETRYING),
        lambda kept: kept._replace(attempt=2),
        lambda kept: kept._replace(override=encode(record("job", State.FAILED)), state=State.FAILED),
    ],
)
def test_what_does_not_say_the_same_as_the_store_is_decoded(changed: Any) -> None:
    kept = stored(encode(record("job", current=3)))
    assert is_sent_as_it_is(kept)
    assert not is_sent_as_it_is(changed(kept))


def test_a_record_under_another_id_is_decoded() -> None:
    kept = stored(encode(record("job")))
    assert not is_sent_as_it_is(kept, id="other")
    assert json.loads(decode(kept, id="other").to_json())["id"] == "other"


@pytest.mark.parametrize("inside", ["\n", "\r", "{" * 101])
def test_what_could_break_a_stream_is_decoded_even_with_its_checksum(inside: str) -> None:
    parts = bodies.split(encode(record("job")))
    assert parts is not None
    assert bodies.split(bodies.join(parts._replace(after=parts.after + inside))) is None


@pytest.mark.parametrize("created", [None, moment(1_700_000_000)])
@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"created_at": "1970-01-01T00:00:00.000Z"},
        {"a": '"created_at":"1970-01-01T00:00:00.000Z","started_at":null'},
        {"a": [{"created_at": None, "started_at": None, "lease": 1}] * 40},
    ],
)
def test_when_a_job_was_first_heard_of_is_found_in_its_record(created: Any, meta: dict[str, Any]) -> None:
    progress = record("job", meta=meta, created_at=created, finished_at=moment(3), lease=5.0)
    body = encode(progress)
    assert created_at(body) == progress.to_dict()["created_at"]
    assert created_at(json.dumps(json.loads(body))) == created_at(body)


@pytest.mark.parametrize(
    "body",
    [
        '{"created_at":"right","meta":{"created_at":"wrong"}}',
        '{"created_at":"right","lease":30.0}',
        '{ "created_at" : "right" }',
        '{"created_at":"right","meta":{"created_at":null,"started_at":null,"updated_at":null,"finished_at":null,'
        '"next_retry_at":null,"lease":1}}',
    ],
)
def test_it_is_found_in_a_record_that_somebody_else_encoded(body: str) -> None:
    assert created_at(body) == "right"


def test_a_record_cannot_be_changed_and_is_copied_with_other_values() -> None:
    progress = decode(stored(encode(record("job", current=3))), id="job")
    with pytest.raises(AttributeError):
        progress.state = State.FAILED  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del progress.state
    assert progress._replace(version=Version(1, 1, 2)).current == 3
    assert progress._replace(version=Version(1, 1, 2)) != progress


def test_what_was_not_decoded_yet_is_equal_to_what_was() -> None:
    import copy
    import pickle

    kept = stored(encode(record("job", current=3)))
    one, other = decode(kept, id="job"), decode(kept, id="job")
    assert one == other
    assert one == record("job", current=3, lease=None, life="0")
    assert one != decode(kept, True, id="job")
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
