"""The percent of work that is divided into items and steps, beside a model in exact fractions."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progresskit import Progress, State, Step, StepState
from progresskit.decoding import decode
from progresskit.progress import Stored, encode, percentage
from progresskit.steps import UNFINISHED, WHOLE, ended, percent_of, share_of_items, share_of_steps
from progresskit.testing import record
from progresskit.validation import step_name
from progresskit.validation import steps as checked

LIMIT = 2**53


class Loop(NamedTuple):
    """A loop: items done, and of all; the loops of which each is in the item in hand of the one before."""

    done: int
    total: int


def loops() -> st.SearchStrategy[list[Loop]]:
    one = st.integers(1, 1_000).flatmap(lambda total: st.tuples(st.integers(0, total - 1), st.just(total)))
    return st.lists(one.map(lambda loop: Loop(*loop)), min_size=1, max_size=5)


@given(loops())
def test_loops_in_each_other_are_floored_once_however_deep_they_are(nested: list[Loop]) -> None:
    share, exact = 0, Fraction(0)
    for done, total in reversed(nested):
        found = share_of_items(done, total, share)
        assert found is not None
        share, exact = found, (done + exact) / total
    assert share == int(exact * WHOLE)


@given(st.lists(st.tuples(st.integers(1, 1_000_000), st.integers(0, WHOLE)), min_size=1, max_size=32))
def test_steps_weigh_as_declared_and_never_make_a_whole_before_success(steps: list[tuple[int, int]]) -> None:
    weights = sum(weight for weight, _ in steps)
    exact = sum((Fraction(weight, weights) * share for weight, share in steps), Fraction(0))
    assert share_of_steps(steps) == min(int(exact), UNFINISHED)


counts = st.one_of(st.integers(0, LIMIT), st.floats(0, LIMIT), st.decimals(0, 999, places=2).map(float))


@given(counts, counts.filter(bool), st.integers(0, WHOLE))
def test_a_refinement_adds_to_the_item_in_hand(current: float, total: float, refinement: int) -> None:
    (a, b), (c, d) = (Decimal(repr(number)).as_integer_ratio() for number in (current, total))
    exact = (Fraction(a, b) * WHOLE + refinement) / Fraction(c, d)
    assert share_of_items(current, total, refinement) == min(int(exact), UNFINISHED)
    assert percentage(current, total) == percent_of(share_of_items(current, total))


@pytest.mark.parametrize("total", [None, 0, 0.0])
def test_without_a_total_there_is_no_share(total: float | None) -> None:
    assert share_of_items(5, total, 5_000) is None
    assert percent_of(None) is None


EACH = tuple(Step(state.value, 2, state, 12.5) for state in StepState)


@pytest.mark.parametrize(("state", "states"), [
    (State.SUCCEEDED, ["skipped", "succeeded", "succeeded", "failed", "cancelled", "skipped"]),
    (State.FAILED, ["pending", "failed", "succeeded", "failed", "cancelled", "skipped"]),
    (State.CANCELLED, ["pending", "cancelled", "succeeded", "failed", "cancelled", "skipped"]),
    (State.RETRYING, ["pending", "cancelled", "succeeded", "failed", "cancelled", "skipped"]),
])  # fmt: skip
def test_steps_end_with_their_job(state: State, states: list[str]) -> None:
    after = ended(EACH, state)
    assert [step.state for step in after] == states
    assert ended(after, state) == after
    assert [step.percent for step in after] == [12.5, 100 if state is State.SUCCEEDED else 12.5, *[12.5] * 4]


# What is declared.


@pytest.mark.parametrize(("given", "weights"), [
    ({"Read": 1, "Store": 3}, {"Read": 1, "Store": 3}),
    (["Read", "Store"], {"Read": 1, "Store": 1}),
    (iter(("x" * 80,)), {"x" * 80: 1}),
    ({"a\ud800b": 1_000_000}, {"a\ufffdb": 1_000_000}),
])  # fmt: skip
def test_steps_are_declared_by_names_with_weights_or_alone(given: Any, weights: dict[str, int]) -> None:
    assert checked(given) == weights


BAD_STEPS: list[Any] = [
    {}, [], "Read", 5, {"Read": 0}, {"Read": 1_000_001}, {"Read": 1.5}, {"Read": True}, {"Read": "1"}, {"Read": None},
    {"": 1}, {"x" * 81: 1}, {1: 1}, ["Read", "Read"], [["Read"]], [f"step-{number}" for number in range(33)],
]  # fmt: skip


@pytest.mark.parametrize("given", BAD_STEPS, ids=repr)
def test_steps_that_cannot_be_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        checked(given)


@pytest.mark.parametrize("name", ["", "x" * 81, 5, None, b"Read"])
def test_a_name_that_cannot_be_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="1 to 80 characters"):
        step_name(name)


# The record.

STEPS = (
    Step("Download „Käse“", 1, StepState.SUCCEEDED, 100),
    Step("Parse", 3, StepState.RUNNING, 33.33),
    Step("Store", 1_000_000, StepState.PENDING, None),
)


def stored(body: str, state: State = State.RUNNING, verdict: str | None = None) -> Stored:
    return Stored(1, 1, 1, "token", state, body, verdict)


def test_the_steps_are_in_the_record_and_come_back_from_the_store() -> None:
    progress = record("job", current=1, total=3, steps=STEPS, step=2, given_percent=0.01, life="0")
    shown = progress.to_dict()
    assert shown["steps"][1] == {"name": "Parse", "weight": 3, "state": "running", "percent": 33.33}
    assert (shown["step"], shown["percent"]) == (2, 0.01)
    assert json.loads(progress.to_json()) == shown
    read = decode(stored(encode(progress)))
    assert json.loads(read.to_json()) == shown, "sent as it is stored"
    assert (read.steps, read.step, read.percent) == (STEPS, 2, 0.01)
    assert pickle.loads(pickle.dumps(read)) == read
    assert read._replace(stalled=True).to_dict() == shown | {"stalled": True, "cursor": f"{shown['cursor']}s"}


@pytest.mark.parametrize(("given", "current", "total"), [(None, 2, 4), (12.5, 2, 4), (12.5, 0, None), (0, 2, 4)])
def test_a_percent_that_was_given_counts_more_than_the_count(given: Any, current: int, total: int | None) -> None:
    progress = record("job", current=current, total=total, given_percent=given)
    assert progress.percent == given
    assert decode(stored(encode(progress))).percent == given
    assert decode(stored(json.dumps(json.loads(encode(progress))))).percent == given
    done = progress._replace(state=State.SUCCEEDED)
    assert done.percent == 100
    assert decode(stored(encode(done), State.SUCCEEDED)).percent == 100


def test_a_record_of_a_release_without_steps_is_shown_with_all_fields() -> None:
    body = json.loads(encode(record("job", current=1, total=4)))
    del body["steps"], body["step"], body["crc32"]
    progress = decode(stored(json.dumps(body)))
    assert (progress.steps, progress.step, progress.percent) == (None, None, 25)
    assert json.loads(progress.to_json())["steps"] is None


@pytest.mark.parametrize("wrong", [
    5, "x", {}, [], [5], [{}], [{"name": "Parse"}], [{"name": 5, "weight": 1, "state": "running"}],
    [{"name": "Parse", "weight": 1}], [{"name": "Parse", "weight": 1, "state": "paused"}],
    [{"name": "Parse", "weight": 1, "state": "running"}, {"name": "Store", "state": None}],
    [{"name": "Parse", "weight": 1, "state": ["running"]}],
])  # fmt: skip
def test_steps_of_another_program_that_cannot_be_are_as_good_as_missing(wrong: Any) -> None:
    body = json.loads(encode(record("job", current=1, total=4))) | {"steps": wrong, "step": wrong, "percent": [5]}
    progress = decode(stored(json.dumps(body)))
    assert (progress.steps, progress.percent) == (None, 25)


def test_unknown_fields_of_a_step_are_ignored() -> None:
    step = {"name": "Parse", "weight": 2, "state": "running", "percent": 5, "colour": "red"}
    body = json.loads(encode(record("job"))) | {"steps": [step], "step": 1}
    assert decode(stored(json.dumps(body))).steps == (Step("Parse", 2, StepState.RUNNING, 5),)


def test_steps_end_with_a_job_that_is_ended_from_outside() -> None:
    body = encode(record("job", steps=STEPS, step=2, given_percent=25.5))
    verdict = encode(record("job", state=State.FAILED))
    progress = decode(stored(body, State.FAILED, verdict))
    assert progress.steps is not None
    assert [step.state.value for step in progress.steps] == ["succeeded", "failed", "pending"]
    assert (progress.step, progress.percent) == (2, 25.5)


def test_a_plain_record_has_no_steps() -> None:
    progress: Progress = record("job", current=1, total=4)
    assert (progress.steps, progress.step, progress.percent) == (None, None, 25)
