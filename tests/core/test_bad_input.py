"""Whatever a job reports: no error into the job, no bad JSON out, each bad value counted, the next good one in."""

from __future__ import annotations

import enum
import json
import math
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progresskit import InvalidValue, Kit, ProgressObserver, State
from progresskit.testing import FakeClock

from .doubles import FlakyBackend

LIMIT = 2**53
FUZZ = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Rows(enum.IntEnum):
    THREE = 3


class Moody:
    """Raises at everything that could be asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __len__(self) -> int:
        raise RuntimeError("len")

    def __float__(self) -> float:
        raise RuntimeError("float")

    def __index__(self) -> int:
        raise RuntimeError("index")

    __int__ = __index__


class MoodyText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("str")

    def __len__(self) -> int:
        raise RuntimeError("len")

    def encode(self, *args: Any, **options: Any) -> bytes:
        raise RuntimeError("encode")


class MoodyMapping(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("getitem")

    def __iter__(self) -> Any:
        raise RuntimeError("iter")

    def __len__(self) -> int:
        raise RuntimeError("len")


class MoodyInt(int):
    def __int__(self) -> int:
        raise RuntimeError("int")

    def __le__(self, other: object) -> bool:
        raise RuntimeError("le")

    __ge__ = __lt__ = __gt__ = __le__

    def __add__(self, other: object) -> int:
        raise RuntimeError("add")

    __radd__ = __add__


def nested(depth: int, innermost: Any = None) -> Any:
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


GOOD_NUMBERS = [
    0, 1, LIMIT, 0.0, -0.0, 0.5, 1e-300, float(LIMIT), Decimal("1.25"), Decimal("-0"), Fraction(1, 3), Rows.THREE,
    numpy.int8(5), numpy.uint64(LIMIT), numpy.float32(1.5), numpy.float64(0.1), numpy.longdouble(2.5),
]  # fmt: skip

NEGATIVE_NUMBERS = [-1, -0.5, -1e-300, -LIMIT, Decimal(-1), Fraction(-1, 3), numpy.int64(-1)]
"""No positions, and no totals, but good changes of a count."""

BAD_NUMBERS = [
    math.nan, math.inf, -math.inf, -LIMIT - 1, LIMIT + 1, LIMIT * 1.5, 10**5_000, -(10**5_000), 1e308,
    True, False, "5", b"5", "", "nan", [1], (1,), {1}, {"a": 1}, object(), 1j, range(3), print, int,
    Moody(), MoodyInt(5),
    Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1e999999"),
    Fraction(10**400), numpy.float64("nan"), numpy.float32("inf"), numpy.bool_(True),
    numpy.array([1, 2]), numpy.array(5), numpy.complex128(1), numpy.datetime64("2026-01-01"), numpy.timedelta64(5, "s"),
]  # fmt: skip

good_numbers = st.one_of(
    st.sampled_from(GOOD_NUMBERS),
    st.integers(0, LIMIT),
    st.floats(0, LIMIT),
    st.integers(0, 10**6).map(lambda number: Decimal(number) / 1000),
    st.integers(0, 10**6).map(lambda number: Fraction(number, 7)),
    st.integers(0, 2**31 - 1).map(numpy.int32),
    st.floats(0, 1e9, width=32).map(numpy.float32),
)
bad_numbers = st.one_of(
    st.sampled_from(BAD_NUMBERS + NEGATIVE_NUMBERS),
    st.integers(max_value=-1),
    st.integers(min_value=LIMIT + 1),
    st.floats(max_value=-1e-300),
    st.floats(min_value=LIMIT * 1.01),
    st.booleans(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
    st.lists(st.integers()),
)

BAD_META = [
    {"a": math.nan}, {"a": math.inf}, {"a": [-math.inf]}, {"a": object()}, {"a": {1, 2}}, {"a": b"bytes"},
    {"a": Moody()},
    {"a": Decimal(1)}, {"a": numpy.float32(1)}, {"a": "x" * 10_000_000}, {"a": 10**5_000}, {(1, 2): 3}, {b"a": 1},
    {Moody: 1}, {"a": nested(100_000)}, {"a": ["é" * 4_100]}, {str(number): number for number in range(5_000)},
    "text", 5, [], ["a"], None.__class__, Moody(), MoodyMapping(),
]  # fmt: skip

BAD_TEXTS = [5, 5.5, b"bytes", ["a"], object(), Moody(), True, numpy.int64(5)]

UNCLEAN = "a\0b\ud800c\udfffd"
CLEANED = "a\ufffdb\ufffdc\ufffdd"

texts = st.text(st.characters(), max_size=600)  # lone surrogates included


@pytest.fixture
def kit(backend: FlakyBackend, clock: FakeClock) -> Kit:
    return Kit(backend=backend, clock=clock, threaded=False, strict=False)


Check = Callable[[ProgressObserver, int], dict[str, Any]]


@pytest.fixture
def check(kit: Kit, backend: FlakyBackend, clock: FakeClock) -> Check:
    """
    Give a function that publishes a job and checks that so many values were dropped and the next good update arrives.

    It returns the JSON of the record as it was before that update.
    """

    def read(job: ProgressObserver) -> dict[str, Any]:
        clock.advance(1)
        kit.publisher.step()
        text = backend.store.read([job.id])[job.id].to_json()
        text.encode("utf-8")
        assert "\0" not in text
        assert "\\u0000" not in text
        parsed: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
        for name in ("current", "total", "percent", "rate", "eta"):
            assert parsed[name] is None or 0 <= parsed[name] <= LIMIT
        return parsed

    def check(job: ProgressObserver, dropped: int) -> dict[str, Any]:
        assert job.dropped == dropped
        before = read(job)
        job.update(current=1, total=7, description="good", unit="rows", meta={"good": True})
        after = read(job)
        assert job.dropped == dropped
        assert (after["current"], after["total"], after["description"]) == (1, 7, "good")
        assert (after["unit"], after["meta"]) == ("rows", {"good": True})
        job.succeed()
        assert read(job)["state"] == "succeeded"
        return before

    return check


# Numbers.


@pytest.mark.parametrize("value", GOOD_NUMBERS, ids=repr)
def test_every_kind_of_number_counts(kit: Kit, check: Check, value: Any) -> None:
    job = kit.observe()
    job.set_progress(value, value)
    shown = check(job, 0)
    assert shown["current"] == shown["total"] == pytest.approx(float(value))
    assert math.copysign(1, shown["current"]) == 1, "no -0.0"


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_good_number_is_dropped_and_counted(kit: Kit, check: Check, value: Any) -> None:
    job = kit.observe(total=50)
    job.set_progress(5)
    job.advance(value)
    job.set_progress(value)
    job.set_progress(6, value)
    job.update(current=value)
    job.update(total=value)
    shown = check(job, 5)
    assert (shown["current"], shown["total"]) == (6, 50), "the good half of a call counts"


@pytest.mark.parametrize("value", NEGATIVE_NUMBERS, ids=repr)
def test_a_negative_number_is_dropped_but_as_a_change_of_the_count(kit: Kit, check: Check, value: Any) -> None:
    job = kit.observe(total=50)
    job.set_progress(5)
    job.set_progress(value)
    job.set_progress(6, value)
    job.update(current=value)
    job.update(total=value)
    assert job.progress.current == 6
    job.advance(value)
    shown = check(job, 4)
    assert (shown["current"], shown["total"]) == (pytest.approx(max(6 + float(value), 0)), 50)


@FUZZ
@given(st.lists(st.tuples(st.just(True), good_numbers) | st.tuples(st.just(False), bad_numbers), max_size=6))
def test_any_mixture_of_numbers_leaves_the_last_good_one(kit: Kit, check: Check, calls: list[tuple[bool, Any]]) -> None:
    job, expected, bad = kit.observe(), 0.0, 0
    for good, number in calls:
        job.set_progress(number)
        expected = float(number) if good else expected
        bad += not good
    assert check(job, bad)["current"] == pytest.approx(expected)


@FUZZ
@given(st.lists(good_numbers | bad_numbers, max_size=8))
def test_advancing_by_anything_never_leaves_the_limits_and_falls_by_negative_numbers_only(
    kit: Kit, check: Check, steps: list[Any]
) -> None:
    job, last = kit.observe(), 0.0
    for step in steps:
        job.advance(step)
        current = job.progress.current
        assert 0 <= current <= LIMIT
        assert current >= last or step < 0
        last = current
    check(job, job.dropped)


def test_a_count_that_is_lowered_stops_at_zero_and_rises_again(kit: Kit, check: Check) -> None:
    job = kit.observe(total=100)
    shown = list[Any]()
    for step in (60, -20, -1.5, -1_000, -1, 25, 75):
        job.advance(step)
        shown.append((job.progress.current, job.progress.percent))
    assert shown == [(60, 60), (40, 40), (38.5, 38.5), (0, 0), (0, 0), (25, 25), (100, 99.99)]
    check(job, 0)


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["huge", "negative"])
def test_what_no_float_holds_is_dropped_beside_a_count_with_a_fraction(kit: Kit, check: Check, value: int) -> None:
    job = kit.observe()
    job.advance(0.5)
    job.advance(value)
    job.set_progress(value)
    assert check(job, 2)["current"] == 0.5


def test_advancing_past_the_limit_is_dropped(kit: Kit, check: Check) -> None:
    job = kit.observe()
    job.set_progress(LIMIT)
    job.advance()
    job.advance(LIMIT)
    assert check(job, 2)["current"] == LIMIT


def test_halves_of_the_limit_are_added_one_by_one_too(kit: Kit, check: Check) -> None:
    job = kit.observe()
    for _ in range(5):
        job.advance(LIMIT // 2 - 1)
    assert check(job, 3)["current"] == 2 * (LIMIT // 2 - 1)


def test_totals_are_compared_by_value_and_counts_may_be_billions(kit: Kit, check: Check) -> None:
    job = kit.observe(total=5_000_000_000)
    calls = [(2**30 - 1, "5"), (2**30, "5"), (4_999_999_999, "5"), (7, "5"), (7, "6"), (2**31, "5"), (8, "6")]
    for current, billions in calls:
        job.set_progress(current, int(f"{billions}000000000"))
        assert (job.progress.current, job.progress.total) == (current, int(billions) * 10**9)
    for step in (2**30, 1, 2**31):
        job.advance(step)
    assert check(job, 0)["current"] == 9 + 2**30 + 2**31


# Text.


@pytest.mark.parametrize("value", BAD_TEXTS, ids=lambda value: type(value).__name__)
def test_what_is_no_text_is_dropped_and_counted(kit: Kit, check: Check, value: Any) -> None:
    job = kit.observe(description="before", unit="B")
    job.set_progress(1, 2, value)
    job.update(description=value)
    job.update(unit=value)
    shown = check(job, 3)
    assert (shown["description"], shown["unit"]) == ("before", "B")


@pytest.mark.parametrize("value", BAD_TEXTS, ids=lambda value: type(value).__name__)
def test_a_kind_that_is_no_text_is_dropped_and_counted(kit: Kit, check: Check, value: Any) -> None:
    assert list(kit.track([1, 2], id="tracked", kind=value)) == [1, 2]
    shown = check(kit.observe(kind=value), 1)
    assert shown["kind"] is None
    assert kit.get("tracked").state is State.SUCCEEDED  # type: ignore[union-attr]


def test_a_subclass_of_text_is_the_text_that_it_holds(kit: Kit, check: Check) -> None:
    job = kit.observe(description=MoodyText("<b>"), unit=MoodyText("rows"))
    shown = check(job, 0)
    assert (shown["description"], shown["unit"]) == ("<b>", "rows")


def test_what_no_store_could_keep_is_replaced(kit: Kit, check: Check) -> None:
    job = kit.observe(description=UNCLEAN, unit=UNCLEAN, meta={UNCLEAN: [UNCLEAN, {"a": UNCLEAN}]}, kind=UNCLEAN)
    shown = check(job, 0)
    assert (shown["description"], shown["unit"], shown["kind"]) == (CLEANED, CLEANED, CLEANED)
    assert shown["meta"] == {CLEANED: [CLEANED, {"a": CLEANED}]}


@pytest.mark.parametrize("length", [500, 501, 10_000_000])
def test_a_long_description_is_cut_with_an_ellipsis(kit: Kit, check: Check, length: int) -> None:
    job = kit.observe()
    job.set_progress(1, 2, "é" * length)
    shown = check(job, 0)["description"]
    assert shown == ("é" * 500 if length == 500 else "é" * 499 + "…")


@FUZZ
@given(texts, texts)
def test_any_text_is_taken(kit: Kit, check: Check, description: str, unit: str) -> None:
    job = kit.observe(description=description)
    job.update(unit=unit)
    shown = check(job, 0)
    assert len(shown["description"] or "") <= 500
    if description.isprintable():
        assert (shown["description"] or "")[:499] == description[:499]


# Meta and results.


@pytest.mark.parametrize("value", BAD_META, ids=lambda value: type(value).__name__)
def test_what_is_no_small_json_object_is_dropped_and_counted(kit: Kit, check: Check, value: Any) -> None:
    job = kit.observe(meta={"before": 1})
    job.update(meta=value)
    job.update(current=3, meta=value)
    shown = check(job, 2)
    assert (shown["meta"], shown["current"]) == ({"before": 1}, 3)


def test_meta_may_take_8_kib_to_the_byte(kit: Kit, check: Check) -> None:
    fits = {"a": "é" * ((8_192 - len('{"a":""}')) // 2)}
    assert len(json.dumps(fits, ensure_ascii=False, separators=(",", ":")).encode()) == 8_192
    job = kit.observe(meta=fits)
    job.update(meta={"a": fits["a"] + "b"})
    assert check(job, 1)["meta"] == fits


def test_meta_is_copied(kit: Kit, check: Check) -> None:
    meta = {"list": [1]}
    job = kit.observe(meta=meta)
    meta["list"].append(2)
    assert check(job, 0)["meta"] == {"list": [1]}


def test_any_mapping_will_do_for_meta(kit: Kit, check: Check) -> None:
    from types import MappingProxyType

    job = kit.observe(meta=MappingProxyType({"a": 1}))
    assert check(job, 0)["meta"] == {"a": 1}


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(Decimal(1)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(), inner, max_size=4),
    max_leaves=10,
)


@FUZZ
@given(st.dictionaries(texts, jsons, max_size=4))
def test_any_meta_is_taken_or_counted(kit: Kit, check: Check, meta: dict[str, Any]) -> None:
    job = kit.observe()
    job.update(meta=meta)
    try:
        size = len(
            json.dumps(meta, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        )
        fits = True if size <= 8_000 else None if size < 25_000 else False  # a surrogate is 1 byte here and 3 there
    except (TypeError, ValueError):
        fits = False
    if fits is not None:
        assert job.dropped == (not fits)
    check(job, job.dropped)


@pytest.mark.parametrize("innermost", [None, UNCLEAN], ids=["clean", "unclean"])
def test_nesting_of_any_depth_is_taken_or_counted_and_never_breaks_what_comes_after(
    kit: Kit, check: Check, innermost: Any
) -> None:
    # From a thread whose own stack is nearly empty, so that as much as can be gets in.
    problems: list[BaseException] = []

    def report() -> None:
        try:
            for depth in [*range(100, 1_100, 7), 1_500, 2_500, 4_000]:
                job = kit.observe()
                job.update(meta={"a": nested(depth, innermost)})
                assert job.dropped in (0, 1)
                jobs.append(job)
        except BaseException as problem:  # told to the test's own thread
            problems.append(problem)

    jobs: list[ProgressObserver] = []
    thread = threading.Thread(target=report)
    thread.start()
    thread.join()
    assert problems == []
    for job in jobs:
        check(job, job.dropped)


BAD_RESULTS = [{"a": math.nan}, object(), Moody(), "x" * 70_000, nested(100_000), {1, 2}]


@pytest.mark.parametrize("value", BAD_RESULTS, ids=lambda value: type(value).__name__)
def test_a_bad_result_is_dropped_and_the_job_succeeds_all_the_same(kit: Kit, backend: FlakyBackend, value: Any) -> None:
    job = kit.observe("job")
    job.succeed(result=value)
    kit.publisher.step()
    progress = backend.store.read(["job"])["job"]
    assert (progress.state, progress.result, job.dropped) == (State.SUCCEEDED, None, 1)


def test_a_result_may_take_64_kib(kit: Kit, backend: FlakyBackend) -> None:
    kit.observe("job").succeed(result="x" * (65_536 - 2))
    kit.publisher.step()
    assert len(backend.store.read(["job"])["job"].result) == 65_534


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("str")


ERRORS = [Mute(), ValueError(UNCLEAN), ValueError("x" * 10_000_000), KeyError(10**5_000), "text", UNCLEAN, ""]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_error_can_be_reported(kit: Kit, backend: FlakyBackend, error: Any) -> None:
    kit.observe("job").fail(error)
    kit.publisher.step()
    progress = backend.store.read(["job"])["job"]
    assert progress.state is State.FAILED
    assert progress.error is not None
    progress.to_json().encode()
    assert len(progress.error.message or "") <= 2_000


# What else is promised of bad values.


def test_one_line_is_logged_for_a_job_however_many_are_dropped(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    for id in ("one", "two"):
        job = kit.observe(id)
        for _ in range(100):
            job.advance(math.nan)
        assert job.dropped == 100
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "one" in caplog.messages[0]


def test_nothing_of_a_bad_value_reaches_the_log_but_its_kind(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    kit.observe("job").update(meta={"password": object(), "secret": "hunter2"}, description=b"hunter2")  # type: ignore[arg-type]
    assert caplog.messages
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("value", [math.nan, -LIMIT - 1, "5", None.__class__], ids=repr)
def test_strict_raises_where_the_bad_value_is_reported(backend: FlakyBackend, clock: FakeClock, value: Any) -> None:
    job = Kit(backend=backend, clock=clock, threaded=False, strict=True).observe("job")
    with pytest.raises(InvalidValue, match=r"^n "):
        job.advance(value)
    with pytest.raises(InvalidValue, match=r"^current "):
        job.set_progress(value)
    with pytest.raises(InvalidValue, match=r"^total "):
        job.set_progress(1, value)
    with pytest.raises(InvalidValue, match=r"^total "):
        job.update(total=value)
    with pytest.raises(InvalidValue, match="meta"):
        job.update(meta={"a": math.nan})
    with pytest.raises(InvalidValue, match="description"):
        job.set_progress(1, 2, 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="result"):
        job.succeed(result=object())


def test_a_job_that_strict_refuses_leaves_nothing_behind(backend: FlakyBackend, clock: FakeClock) -> None:
    kit = Kit(backend=backend, clock=clock, threaded=False, strict=True)
    for about in ({"kind": 5}, {"unit": 5}):
        with pytest.raises(InvalidValue, match=r"^(kind|unit) must be a string, not int"):
            kit.observe("job", **about)  # type: ignore[arg-type]
    kit.publisher.step()
    assert kit.get("job") is None


def test_strict_can_be_set_in_the_environment(
    backend: FlakyBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRESSKIT_STRICT", "1")
    with pytest.raises(InvalidValue):
        Kit(backend=backend, clock=clock, threaded=False).observe("job", total=-1)


def test_in_a_joined_job_values_are_dropped_and_counted_by_the_job(kit: Kit, check: Check) -> None:
    job = kit.observe("job")
    with job, kit.observe(total=-1) as joined:
        joined.advance(math.nan)
        kit.current().set_progress("5")  # type: ignore[arg-type]
        assert joined.dropped == job.dropped == 3


def test_the_silent_job_swallows_everything(kit: Kit) -> None:
    silent = kit.current()
    for value in (math.nan, Moody(), "x"):
        silent.advance(value)  # type: ignore[arg-type]
        silent.set_progress(value, value, value)  # type: ignore[arg-type]
        silent.update(meta=value)  # type: ignore[arg-type]
