"""The only record of a run, for a store that folds it in by itself: see open.lua."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from progresskit.progress import STARTS, State

if TYPE_CHECKING:
    from progresskit.progress import Write


_is_plain = re.compile(r"[\w-]+", re.ASCII).fullmatch


class Opening(NamedTuple):
    """A record as `StoredRecord.dump` writes it: the words that its head is made of, and the text after the head."""

    words: str
    text: str


def opening_of(write: Write) -> Opening | None:
    """Return what a store needs; None for another write than the only one of a run, which begins and ends it."""
    token, state = write.token, write.state
    if write.role not in STARTS or state is State.RUNNING or write.late or write.declaration is not None:
        return None
    if token is None or not _is_plain(token):
        return None
    numbers = f"{write.created} {write.lease!r} {write.ttl!r} {write.age!r}"
    words = f"{max(write.run, 1)} {write.attempt} {write.seq} {token} {state.value} {numbers}"
    return Opening(words, f"\n\n{write.body}")
