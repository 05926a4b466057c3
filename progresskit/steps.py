"""
The steps of a job, and the percent of work that is divided: into items, one of which is in hand, or into steps.

Pure values and functions. A share is a whole number of hundredths of a percent, WHOLE in all; it is always rounded
down, and a floor of floors is the floor of the exact value, so that no depth of nesting adds an error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    Number = int | float

WHOLE = 10_000
"""The share of work that is complete, in hundredths of a percent."""

UNFINISHED = WHOLE - 1
"""The largest share of work that has not succeeded yet."""

MOST_STEPS = 32
NAME_LENGTH = 80
LARGEST_WEIGHT = 1_000_000


class StepState(StrEnum):
    """Where a step stands; `skipped` is one that was never entered in a job that has succeeded."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Step(NamedTuple):
    """
    A step as the record shows it.

    `weight` is None for a step that was not declared: the whole job is not known then. `percent` is None while the
    total of the step is not.
    """

    name: str
    weight: int | None = None
    state: StepState = StepState.PENDING
    percent: Number | None = None

    def to_dict(self) -> dict[str, str | Number | None]:
        """Return the JSON object of the step."""
        return {"name": self.name, "weight": self.weight, "state": self.state.value, "percent": self.percent}


def share_of_items(current: Number, total: Number | None, refinement: int = 0) -> int | None:
    """
    Return the share of `current` of `total` items that are done, at most UNFINISHED; None where it has no answer.

    `refinement` is the share of the item in hand. Exact: a float counts as the decimal number that it is printed as.
    """
    if not total:
        return None
    if type(current) is int and type(total) is int:
        share = (current * WHOLE + refinement) // total
    else:
        from fractions import Fraction

        share = int((Fraction(repr(current)) * WHOLE + refinement) / Fraction(repr(total)))
    return min(share, UNFINISHED)


def share_of_steps(steps: Iterable[tuple[int, int]]) -> int:
    """Return the share of a job with these steps, each given by its weight and its own share; at most UNFINISHED."""
    done = weights = 0
    for weight, share in steps:
        done += weight * share
        weights += weight
    return min(done // weights, UNFINISHED)


def percent_of(share: int | None) -> Number | None:
    """Return a share as a percent with at most two decimals."""
    if share is None:
        return None
    return share // 100 if share % 100 == 0 else share / 100


def ended(steps: tuple[Step, ...], state: str) -> tuple[Step, ...]:
    """Return the steps of a job whose attempt has ended in this state, `retrying` included."""
    return tuple(_ended(step, state) for step in steps)


def _ended(step: Step, state: str) -> Step:
    succeeded = state == StepState.SUCCEEDED
    if step.state is StepState.PENDING and succeeded:
        return step._replace(state=StepState.SKIPPED)
    if step.state is not StepState.RUNNING:
        return step
    if succeeded:
        return step._replace(state=StepState.SUCCEEDED, percent=100)
    return step._replace(state=StepState.FAILED if state == StepState.FAILED else StepState.CANCELLED)
