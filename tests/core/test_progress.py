"""The record: its numbers, ids, times, versions, and the JSON that leaves the process."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any, cast
from uuid import UUID

import numpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progresskit.decoding import decode
from progresskit.errors import InvalidId
from progresskit.progress import (
    FINAL_STATES,
    Failure,
    Progress,
    State,
    Stored,
    Version,
    check_id,
    encode,
    fit_id,
    format_time,
    moment,
    parse_time,
    percentage,
)
from progresskit.testing import record

CONTRACT_FIELDS = [
    "id", "kind", "state", "done", "current", "total", "unit", "percent", "steps", "step",
    "description", "meta", "rate", "eta", "result", "error", "attempt", "version",
    "cursor", "stalled", "cancel_requested", "parts", "parent",
    "created_at", "started_at", "updated_at", "finished_at", "next_retry_at", "part_of",
]  # fmt: skip

LIMIT = 2**53

# Percent.


@pytest.mark.parametrize(("current", "total", "percent"), [
    (29, 100, 29),
    (0.29, 1, 29),
    (0.57, 1.0, 57),
    (1.1, 110, 1),
    (1, 3, 33.33),
    (2, 3, 66.66),
    (0.1, 0.3, 33.33),
    (0, 7, 0),
    (1, LIMIT, 0),
    (9_999, 10_000, 99.99),
    (99_999, 100_000, 99.99),
    (LIMIT - 1, LIMIT, 99.99),
    (100, 100, 99.99),
    (250, 100, 99.99),
    (5e-324, 1, 0),
    (5e-324, 5e-324, 99.99),
    (1e15, 5e-324, 99.99),
])  # fmt: skip
def test_percent_is_exact_and_floored(current: float, total: float, percent: float) -> None:
    assert percentage(current, total) == percent


@pytest.mark.parametrize("total", [None, 0, 0.0])
def test_percent_has_no_answer_without_a_total(total: float | None) -> None:
    assert percentage(5, total) is None


counts = st.one_of(
    st.integers(0, LIMIT), st.floats(0, LIMIT), st.integers(0, 1_000), st.decimals(0, 999, places=2).map(float)
)


@given(counts, counts.filter(bool))
@example(0.07, 0.1)
def test_percent_is_what_a_hand_calculation_with_the_printed_decimals_gives(current: float, total: float) -> None:
    percent = percentage(current, total)
    assert percent is not None
    (a, b), (c, d) = (Decimal(repr(number)).as_integer_ratio() for number in (current, total))
    assert Decimal(repr(percent)) * 100 == min(a * d * 10_000 // (b * c), 9_999)


@given(counts, counts.filter(bool))
def test_percent_is_shown_with_two_decimals_at_most(current: float, total: float) -> None:
    percent = percentage(current, total)
    assert percent is not None
    assert 0 <= percent <= 99.99
    assert len(repr(percent).partition(".")[2]) <= 2


def test_success_is_100_percent_and_nothing_else_is() -> None:
    for total in (None, 0, 100):
        assert record("job", State.SUCCEEDED, current=29, total=total).percent == 100
    for state in State:
        if state is not State.SUCCEEDED:
            assert record("job", state, current=100, total=100).percent == 99.99


def test_a_failed_job_keeps_its_real_percent() -> None:
    assert record("job", State.FAILED, current=29, total=100).percent == 29


# Ids.


@pytest.mark.parametrize("id", ["a", "0", "import-42", "A.b:c_d-9", "x" * 128])
def test_a_well_formed_id_is_taken_as_it_is(id: str) -> None:
    assert check_id(id) == fit_id(id) == id


BAD_IDS = [
    "",
    "x" * 129,
    "-a",
    "_a",
    ".a",
    ":a",
    "a b",
    "a/b",
    "a\n",
    "\na",
    "ä",
    "١",
    "a\0",
    "a\ud800",
    "~token",
    "a,b",
    "a%",
]


@pytest.mark.parametrize("id", BAD_IDS)
def test_any_other_id_is_refused_with_a_reason_and_fitted_by_a_hash(id: str) -> None:
    with pytest.raises(InvalidId, match=r"1 to 128 of .* is the job progresskit\.progress\.fit_id"):
        check_id(id)
    assert len(fit_id(id)) == 40
    assert fit_id(id) == fit_id(id) == check_id(fit_id(id))


class Number(IntEnum):
    SEVEN = 7


IDS_OF_OTHER_TYPES = [
    (42, "42"),
    (0, "0"),
    (10**127, f"1{'0' * 127}"),
    (Number.SEVEN, "7"),
    (numpy.int64(42), "42"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
]


@pytest.mark.parametrize(("id", "text"), IDS_OF_OTHER_TYPES)
def test_whole_numbers_and_uuids_are_ids_as_text(id: Any, text: str) -> None:
    assert check_id(id) == fit_id(id) == text
    assert type(check_id(id)) is str


@pytest.mark.parametrize("id", [-1, 10**128, -(10**10_000)], ids=["negative", "long", "endless"])
def test_a_number_that_makes_no_id_is_none(id: int) -> None:
    with pytest.raises(InvalidId):
        check_id(id)


@pytest.mark.parametrize("id", [None, True, numpy.True_, 5.0, b"abc", ["a"]])
def test_what_is_no_text_and_no_whole_number_is_no_id(id: Any) -> None:
    with pytest.raises(InvalidId, match=type(id).__name__):
        check_id(id)


def test_a_refusal_does_not_repeat_an_endless_id() -> None:
    with pytest.raises(InvalidId) as refused:
        check_id("x" * 10_000_000)
    assert len(str(refused.value)) < 300


def test_different_ids_are_fitted_to_different_ones() -> None:
    assert len({fit_id(id) for id in BAD_IDS}) == len(BAD_IDS)


@given(st.text(max_size=200))
def test_every_id_of_a_queue_can_be_fitted(id: str) -> None:
    check_id(fit_id(id))


# States and versions.


def test_the_last_three_states_are_final() -> None:
    assert list(State) == ["pending", "running", "retrying", "succeeded", "failed", "cancelled"]
    assert [state for state in State if state.final] == list(State)[-3:] == [s for s in State if s in FINAL_STATES]
    assert [state for state in State if record("job", state).done] == list(State)[-3:]


@given(st.builds(Version, *[st.integers(0, 10**12)] * 3))
def test_a_version_reads_back(version: Version) -> None:
    assert Version.parse(str(version)) == version


NO_VERSIONS = ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.3s", "a.b.c", "1..2", " 1.2.3", "+1.2.3", "1_0.2.3", "01.2.3"]


@pytest.mark.parametrize("text", [*NO_VERSIONS, "١.2.3", "9" * 5_000 + ".1.1"])
def test_anything_else_is_no_version(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (int() and unpacking have messages of their own)
        Version.parse(text)


def test_versions_are_ordered_as_numbers_are() -> None:
    assert Version(1, 9, 9) < Version(1, 10, 1) < Version(2, 1, 1)
    assert Version(1, 1, 9) < Version(1, 1, 10)


@pytest.mark.parametrize(("state", "stalled", "asked", "cursor"), [
    (State.RUNNING, False, False, "loyw3v28-1.1.1"),
    (State.RUNNING, True, False, "loyw3v28-1.1.1s"),
    (State.RUNNING, False, True, "loyw3v28-1.1.1c"),
    (State.RUNNING, True, True, "loyw3v28-1.1.1sc"),
    (State.PENDING, False, True, "loyw3v28-1.1.1c"),
    (State.CANCELLED, False, True, "loyw3v28-1.1.1"),
    (State.FAILED, False, False, "loyw3v28-1.1.1"),
])  # fmt: skip
def test_the_cursor_is_what_a_viewer_has_seen(state: State, stalled: bool, asked: bool, cursor: str) -> None:
    assert record("job", state, stalled=stalled, cancel_requested=asked).cursor == cursor


# Times.


def test_a_time_is_rfc_3339_in_utc_with_milliseconds() -> None:
    assert format_time(datetime(2026, 3, 4, 5, 6, 7, 89_999, UTC)) == "2026-03-04T05:06:07.089Z"
    assert format_time(datetime(1970, 1, 1, tzinfo=UTC)) == "1970-01-01T00:00:00.000Z"
    assert format_time(None) is None
    assert parse_time(None) is None


@given(st.floats(0, 253_402_300_799))
def test_a_moment_is_what_the_wire_carries(seconds: float) -> None:
    cut = moment(seconds)
    assert parse_time(format_time(cut)) == cut
    assert cut.utcoffset() == timedelta(0)
    assert abs(cut - (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))) <= timedelta(milliseconds=1)


# JSON.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-LIMIT, LIMIT) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
times = st.none() | st.integers(0, 4_000_000_000_000).map(lambda ms: moment(ms / 1000))
estimates = st.none() | st.floats(0, 1e9)
records = st.builds(
    Progress,
    id=st.just("job"),
    state=st.sampled_from(State),
    version=st.builds(Version, st.integers(1, 9), st.integers(1, 9), st.integers(0, 9)),
    kind=st.none() | texts,
    current=counts,
    total=st.none() | counts,
    unit=st.none() | texts,
    description=st.none() | texts,
    meta=st.dictionaries(texts, jsons, max_size=3),
    rate=estimates,
    eta=estimates,
    result=jsons,
    error=st.none() | st.builds(Failure, texts, st.none() | texts, st.booleans()),
    stalled=st.just(False),
    cancel_requested=st.booleans(),
    parent=st.none() | st.just("parent"),
    created_at=times,
    started_at=times,
    updated_at=times,
    finished_at=times,
    next_retry_at=times,
    lease=st.none() | st.floats(0.1, 100),
    owner=st.none() | texts,
    part_of=st.none() | st.just("album"),
)


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@given(records)
def test_the_json_has_exactly_the_fields_of_the_contract_in_that_order(progress: Progress) -> None:
    parsed = json.loads(progress.to_json(), parse_constant=refuse)
    assert list(parsed) == CONTRACT_FIELDS
    assert parsed == progress.to_dict()


@given(records)
def test_a_record_is_stored_and_comes_back_the_same(progress: Progress) -> None:
    run, attempt, seq = progress.version
    stored = Stored(
        run, attempt, seq, "token", progress.state, encode(progress), cancel_requested=progress.cancel_requested
    )
    back = decode(stored)
    assert back == progress
    assert repr(back) == repr(progress), "the kinds of the numbers included"


def test_the_json_of_a_record() -> None:
    progress = record(
        "import-42",
        State.FAILED,
        kind="app.import_rows",
        version=Version(2, 3, 17),
        current=29,
        total=100,
        unit="rows",
        description="Reading „Käse“",
        meta={"skipped": 3},
        error=Failure("ValueError", "no such row"),
        created_at=moment(1_700_000_000),
        finished_at=moment(1_700_000_001.5),
    )
    assert progress.to_json() == (
        '{"id":"import-42","kind":"app.import_rows","state":"failed","done":true,"current":29,"total":100,'
        '"unit":"rows","percent":29,"steps":null,"step":null,"description":"Reading „Käse“","meta":{"skipped":3},'
        '"rate":null,"eta":null,"result":null,"error":{"type":"ValueError","message":"no such row"},"attempt":3,'
        '"version":"2.3.17","cursor":"loyw3v28-2.3.17","stalled":false,"cancel_requested":false,"parts":null,'
        '"parent":null,'
        '"created_at":"2023-11-14T22:13:20.000Z","started_at":null,"updated_at":null,'
        '"finished_at":"2023-11-14T22:13:21.500Z","next_retry_at":null,"part_of":null}'
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_json_is_never_sent(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        record("job", rate=number).to_json()
    with pytest.raises(ValueError, match="JSON"):
        encode(record("job", meta={"a": number}))


def test_only_a_running_job_is_decoded_as_stalled() -> None:
    for state in State:
        stored = Stored(1, 1, 1, "token", state, encode(record("job", state)))
        assert decode(stored, stalled=True).stalled == (state is State.RUNNING)
        assert not decode(stored, stalled=False).stalled


# Errors and who may read them.


def test_the_message_of_an_error_is_taken_out_unless_it_is_public() -> None:
    secret = record("job", State.FAILED, error=Failure("DatabaseError", "password=hunter2"))
    public = record("job", State.FAILED, error=Failure("PublicError", "The file has no header.", public=True))
    assert secret.redacted().to_dict()["error"] == {"type": "DatabaseError", "message": None}
    assert public.redacted().to_dict()["error"] == {"type": "PublicError", "message": "The file has no header."}
    assert secret.error == Failure("DatabaseError", "password=hunter2"), "the record itself stays as it is"
    assert record("job").redacted().error is None


def test_whether_an_error_is_public_is_stored_and_not_shown() -> None:
    progress = record("job", State.FAILED, error=Failure("E", "m", public=True))
    assert json.loads(encode(progress))["error"]["public"] is True
    assert "public" not in progress.to_json()


def test_a_record_cannot_be_changed() -> None:
    progress: Any = record("job")
    with pytest.raises(AttributeError):
        progress.current = 5


@pytest.fixture(params=["made", "stored", "unpickled", "deep copy"])
def shared(request: pytest.FixtureRequest) -> Progress:
    """A record with values inside of values."""
    values = {"rows": {"skipped": [1, {"why": "empty"}]}, "files": ["a"]}
    made = Progress(
        "job", State.SUCCEEDED, Version(1, 1, 1), meta=json.loads(json.dumps(values)), result=[json.loads("{}"), values]
    )
    if request.param == "stored":
        return decode(Stored(1, 1, 1, "token", State.SUCCEEDED, encode(made)))
    if request.param == "unpickled":
        return cast("Progress", pickle.loads(pickle.dumps(made)))
    return copy.deepcopy(made) if request.param == "deep copy" else made


@pytest.mark.parametrize(
    "change",
    [
        "meta['a'] = 1",
        "del meta['files']",
        "meta |= {'a': 1}",
        "meta.clear()",
        "meta.pop('files')",
        "meta.popitem()",
        "meta.setdefault('a', 1)",
        "meta.update(a=1)",
        "meta['rows']['skipped'] = 1",
        "meta['files'][0] = 'b'",
        "del meta['files'][0]",
        "meta['files'] += ['b']",
        "meta['files'] *= 2",
        "meta['files'].append('b')",
        "meta['files'].clear()",
        "meta['files'].extend('b')",
        "meta['files'].insert(0, 'b')",
        "meta['files'].pop()",
        "meta['files'].remove('a')",
        "meta['files'].reverse()",
        "meta['files'].sort()",
        "result[0]['a'] = 1",
        "result.append(1)",
        "result[1]['rows']['skipped'][1].clear()",
        "copy.copy(meta)['a'] = 1",
    ],
)
def test_no_viewer_can_change_what_another_one_sees(shared: Progress, change: str) -> None:
    before = json.dumps([shared.meta, shared.result])
    with pytest.raises(TypeError, match="cannot be changed"):
        exec(change, {"meta": shared.meta, "result": shared.result, "copy": copy})
    assert json.dumps([shared.meta, shared.result]) == before


def test_values_of_a_record_equal_dicts_and_lists_and_copies_of_them_can_be_changed(shared: Progress) -> None:
    values = {"rows": {"skipped": [1, {"why": "empty"}]}, "files": ["a"]}
    assert (shared.meta, shared.result) == (values, [{}, values])
    assert json.dumps(shared.meta) == json.dumps(values)
    assert json.loads(shared.to_json())["result"] == [{}, values]
    assert shared._replace(meta=dict(shared.meta)) == shared
    dict(shared.meta)["a"] = 1
    (shared.meta | {"a": 1})["b"] = 2  # type: ignore[operator]
    mine = shared.to_dict()
    mine["meta"]["rows"]["skipped"].append(2)
    mine["result"][1].clear()
    assert (shared.meta, shared.result) == (values, [{}, values])


def test_records_without_meta_share_none_that_can_be_changed() -> None:
    with pytest.raises(TypeError):
        Progress("job", State.RUNNING, Version(1, 1, 1)).meta["a"] = 1  # type: ignore[index]
