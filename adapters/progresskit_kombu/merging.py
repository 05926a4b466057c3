"""
Merges the records that two processes have of one job.

All replicas fold the same messages, so they agree, unless one of them missed a message, or a broker delivered the same
two messages to two processes in different orders. Then both send their records, and each keeps the result of `merge`:
the same in both processes, and never a version that is older than either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.progress import FINAL_STATES

if TYPE_CHECKING:
    from progresskit.progress import Stored


def merge(one: Stored, other: Stored) -> Stored:
    """
    Return the record that both processes keep from now on.

    A later run wins. Two owners of one run, which started at the same moment, are ordered by their tokens, and the
    winner gets the next run. Within a run, a cancel request and the earliest beginning are kept from either side.
    """
    if one.run != other.run:
        return one if one.run > other.run else other
    if one.attempt == other.attempt and one.token and other.token and one.token != other.token:
        return (one if one.token > other.token else other)._replace(run=one.run + 1)
    winner, loser = (one, other) if _rank(one) >= _rank(other) else (other, one)
    back = winner.attempt == loser.attempt and winner.seq < loser.seq
    return winner._replace(
        seq=loser.seq + 1 if back else winner.seq,
        created=min(filter(None, (one.created, other.created)), default=None),
        cancel_requested=one.cancel_requested or other.cancel_requested,
        opened=min(one.opened, other.opened) if one.token == other.token else winner.opened,
        restored=one.restored and other.restored if one.token == other.token else winner.restored,
        born=min(filter(None, (one.born, other.born)), default=0),
    )


def differ(one: Stored, other: Stored) -> bool:
    """Return True for a disagreement that the owner's next write does not resolve by itself."""
    return _view(one) != _view(other)


def _view(stored: Stored) -> tuple[Any, ...]:
    return stored.run, stored.token, stored.state in FINAL_STATES, stored.cancel_requested


def _rank(stored: Stored) -> tuple[Any, ...]:
    # A final state ranks above all others; the last fields are there so that no two ranks are equal.
    return (
        stored.attempt,
        stored.state in FINAL_STATES,
        stored.token is not None,
        stored.seq,
        stored.override is None,
        stored.state.value,
        stored.body,
        stored.override or "",
        stored.token or "",
    )
