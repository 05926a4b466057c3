"""
Brings together what two processes know of one job.

All mirrors fold the same messages, so they agree, unless one of them missed a message or a broker gave two of them
the same two messages in different orders. Then both say what they have, and each takes what comes out here: the same
whichever of the two is asked, and never a version that is older than either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from progresskit.progress import FINAL_STATES

if TYPE_CHECKING:
    from progresskit.progress import Stored


def settle(one: Stored, other: Stored) -> Stored:
    """
    Return what both processes keep from now on.

    A later run wins. Two owners of one run, who started at the same moment, are told apart by their tokens, and the
    one that wins gets the next run. Within a run, what was asked and when it began is kept from either side.
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
    """Tell whether two processes disagree about more than how far the owner is, which its next write tells both."""
    return _view(one) != _view(other)


def _view(stored: Stored) -> tuple[Any, ...]:
    return stored.run, stored.token, stored.state in FINAL_STATES, stored.cancel_requested


def _rank(stored: Stored) -> tuple[Any, ...]:
    # The end of a run stands above all that is not; the rest is there so that no two ranks are the same.
    ended = stored.state in FINAL_STATES
    return (
        stored.attempt,
        ended,
        stored.token is not None,
        stored.seq,
        stored.verdict is None,
        stored.state.value,
        stored.body,
        stored.verdict or "",
        stored.token or "",
    )
