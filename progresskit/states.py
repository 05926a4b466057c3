"""The states of a job, and those that are final."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True for `succeeded`, `failed` and `cancelled`."""
        return self in FINAL_STATES


FINAL_STATES = frozenset((State.SUCCEEDED, State.FAILED, State.CANCELLED))

SKEW_SECONDS = 2.0
"""How far the clocks of two processes may differ that judge by times which both have written."""


def is_ahead(heard: float, now: float, lease: float) -> bool:
    """Return whether the clock was set back since a job was heard of, for two clocks do not differ by so much."""
    return heard - now >= lease + SKEW_SECONDS


def last_heard(before: float, now: float, lease: float) -> float:
    """Return when a job that is heard of now was last heard of: now, unless the clock is a little behind."""
    return now if is_ahead(before, now, lease) else max(now, before)


def is_over(heard: float, now: float, lease: float) -> bool:
    """Return whether a lease has run out."""
    return now - heard >= lease or is_ahead(heard, now, lease)
