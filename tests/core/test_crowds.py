"""The judge of histories that processes raced through: what the fold can explain, and what it cannot."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from progresskit import State
from progresskit.progress import Stored, Write, fold
from progresskit.testing import external_update, start, update
from progresskit.testing.crowds import JOBS, Play, explained, plan, shown

ONE = [start("job", token="one", current=1), update("job", 2, token="one", current=2)]
OTHER = [start("job", token="other", current=3), update("job", 2, token="other", run=2, current=4)]


def states(*writes: Write | None) -> list[str]:
    """Return what is shown after each of the writes, made in this order; None asks to stop."""
    stored: Stored | None = None
    found = []
    for write in writes:
        stored = fold(stored, write, 0.0)[0] if write else stored and stored._replace(cancel_requested=True)
        found.append(shown(stored) or "")
    return found


def play(
    answers: list[list[Any]], *chains: list[str], last: str, plans: list[list[Write | None]] | None = None
) -> bool:
    steps = [[("job", write, 0.0) for write in writes] for writes in plans or [[*ONE], [*OTHER]]]
    return explained(Play(steps, answers, list(chains), last))


def test_each_order_that_can_have_been_is_found() -> None:
    one_first, other_first = states(*ONE, *OTHER), states(*OTHER, *ONE)
    mixed = states(ONE[0], OTHER[0], ONE[1], OTHER[1])
    assert play([[1, 1], [2, 2]], one_first, last=one_first[-1])
    assert play([[2, 2], [1, 1]], other_first[1:], last=other_first[-1])
    assert play([[1, 2], [2, 2]], [mixed[0], mixed[-1]], mixed[1:2], last=mixed[-1])
    assert play([[1, 2], [2, 2]], [], last=mixed[-1])


def test_an_end_that_no_order_leads_to_is_not_explained() -> None:
    assert not play([[1, 1], [2, 2]], last=states(*ONE)[-1])
    assert not play([[1, 1], [2, 2]], last=states(*OTHER)[-1])


def test_an_answer_that_no_order_gives_is_not_explained() -> None:
    last = states(*ONE, *OTHER)[-1]
    assert not play([[1, 1], [1, 1]], last=last)
    assert not play([[2, 2], [2, 2]], last=last)
    assert not play([[None, None], [2, 2]], last=last), "the run of a start has to be told"
    assert play([[1, None], [2, None]], last=last)


@pytest.mark.parametrize("places", [(1, 0), (0, 2, 1), (3, 2)])
def test_what_goes_back_before_the_eyes_of_a_viewer_is_not_explained(places: tuple[int, ...]) -> None:
    seen = states(*ONE, *OTHER)
    assert not play([[1, 1], [2, 2]], [seen[place] for place in places], last=seen[-1])


def test_viewers_that_saw_different_orders_are_not_explained() -> None:
    plans: list[list[Write | None]] = [
        [external_update("job")],
        [start("job"), None],
        [external_update("job", State.FAILED)],
    ]
    stopped = states(external_update("job"), start("job"), None, external_update("job", State.FAILED))
    failed = states(external_update("job"), start("job"), external_update("job", State.FAILED))
    answers: list[list[Any]] = [[1], [1, True], [1]]
    assert play(answers, stopped, stopped[1:], last=stopped[-1], plans=plans)
    assert not play(answers, stopped, failed, last=stopped[-1], plans=plans)
    assert not play([[1], [1, False], [1]], stopped, last=stopped[-1], plans=plans)
    assert play([[1], [1, False], [1]], failed, last=failed[-1], plans=plans)


def test_a_plan_comes_again_from_its_seed_and_is_about_all_jobs() -> None:
    ids = [f"job-{number}" for number in range(JOBS)]
    assert plan(Random(7), ids) == plan(Random(7), ids)
    assert plan(Random(7), ids) != plan(Random(8), ids)
    assert {id for id, *_ in plan(Random(7), ids)} == set(ids)
    firsts: dict[str, Any] = {}
    for seed in range(50):
        for id, write, _ in plan(Random(seed), ids):
            firsts.setdefault(f"{seed}-{id}", write)
    assert all(firsts.values()), "nothing can be asked to stop before there is something"
