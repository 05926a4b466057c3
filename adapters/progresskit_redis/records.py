"""Records on their way into the scripts, and out of them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from progresskit.decoding import decode, undecoded
from progresskit.progress import State, Stored, Version

if TYPE_CHECKING:
    from progresskit.progress import Progress, Write

_STATES = {state.value: state for state in State}


def head(write: Write) -> bytes:
    """Return all of a write but its id and body, as the scripts take it; no word may be empty or have a space in it."""
    token = "_".join(write.token.split()) if write.token else ""
    return (
        f"{write.role.value} {max(write.run, 1)} {write.lease!r} {write.ttl!r} "
        f"{write.age!r} {write.late:d} {write.created} "
        f"{write.attempt} {write.seq} {write.state.value} {token or '-'} {marked(write.kind)}"
    ).encode()


def marked(kind: str | None) -> str:
    """Return a kind as the scripts take it: an empty one is another than none."""
    return "" if kind is None else f"={kind}"


def id_of(packed: bytes) -> str:
    """Return the id of a record that a script has packed."""
    return packed.partition(b" ")[0].decode(errors="replace")


def unpack(packed: bytes) -> Progress:
    """Return the record that a script has packed; raises an error of any kind where it cannot be decoded."""
    head, override, body = packed.decode(errors="replace").rsplit("\x1f", 2)
    id, stalled, run, cancel, dates, attempt, seq, state, _ = head.split(" ", 8)
    created, born = _dates(dates)
    version, is_stalled, is_cancelling = Version(int(run), int(attempt), int(seq)), stalled == "1", cancel == "1"
    if not override:
        record = undecoded(body, id, _STATES[state], version, is_stalled, is_cancelling, created, born)
        if record is not None:
            return record
    # The token is the writer's alone.
    stored = Stored(*version, None, _STATES[state], body, override or None, created, is_cancelling, born=born)
    return decode(stored, is_stalled, id)


@lru_cache(4_096)
def _dates(packed: str) -> tuple[str | None, int]:
    """Return when the run was first heard of, and when the id was: the same for all records of a run."""
    created, _, born = packed.partition("@")
    return None if created == "-" else created, int(born or 0)
